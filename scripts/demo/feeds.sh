# Sourced by run: imports feeds for this host's distribution.

# fetch URL FILE: true when the publisher answered.
fetch() {
  [ "${OFFLINE:-}" != 1 ] && command -v curl >/dev/null 2>&1 &&
    curl -fsSL --connect-timeout 3 --max-time 60 -o "$2" "$1" 2>/dev/null
}

# osv_ecosystem prints OSV's name of this host's distribution, nothing when it has none.
osv_ecosystem() {
  # shellcheck disable=SC1091
  (. /etc/os-release 2>/dev/null && case "$ID" in
    debian) echo "Debian:$VERSION_ID" ;;
    ubuntu) echo "Ubuntu:$VERSION_ID:LTS" ;;
    almalinux) echo "AlmaLinux:${VERSION_ID%%.*}" ;;
    rocky) echo "Rocky%20Linux:${VERSION_ID%%.*}" ;;
  esac)
}

import_feeds() {
  local work=$1 eco
  eco=$(osv_ecosystem)
  if [ -n "$eco" ] && fetch "https://osv-vulnerabilities.storage.googleapis.com/$eco/all.zip" "$work/osv.zip" &&
    fetch "https://www.cisa.gov/sites/default/files/feeds/known_exploited_vulnerabilities.json" "$work/kev.json" &&
    fetch "https://epss.empiricalsecurity.com/epss_scores-current.csv.gz" "$work/epss.csv.gz"; then
    printf 'feeds: from their publishers\n' >&2
    patchproof feed import "$work/osv.zip" "$work/kev.json" "$work/epss.csv.gz"
    return
  fi
  printf 'feeds: the publishers are out of reach; using the dated snapshot for Debian 12 in scripts/demo/feeds\n' >&2
  patchproof feed import scripts/demo/feeds
}
