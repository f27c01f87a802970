package sbom

import (
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/patchproof/patchproof/collector/inventory"
)

// osIDs maps the names that SBOM tools give distributions to os-release IDs.
var osIDs = map[string]string{
	"alma": "almalinux", "amazon": "amzn", "amazonlinux": "amzn", "amazon linux": "amzn", "redhat": "rhel", "red hat": "rhel",
	"oracle": "ol", "oraclelinux": "ol", "oracle linux": "ol", "rockylinux": "rocky", "rocky linux": "rocky",
	"suse": "sles", "suse linux enterprise server": "sles", "opensuse": "opensuse-leap", "opensuse.leap": "opensuse-leap",
}

// codenames maps the codenames that stand in for a version.
var codenames = map[string]string{
	"buster": "10", "bullseye": "11", "bookworm": "12", "trixie": "13", "forky": "14",
	"bionic": "18.04", "focal": "20.04", "jammy": "22.04", "noble": "24.04", "resolute": "26.04",
}

// releaseOf makes a release of the name and version of an operating system.
func releaseOf(id, version string) inventory.Release {
	id = strings.ToLower(strings.TrimSpace(id))
	if known, ok := osIDs[id]; ok {
		id = known
	}
	version, _, _ = strings.Cut(strings.TrimSpace(version), " ") // "2 (Karoo)"
	if v, ok := codenames[strings.ToLower(version)]; ok {
		version = v
	}
	return inventory.ReleaseOf(id, version)
}

// distroOf reads a distro qualifier: almalinux-9.3, opensuse-leap-15.5,
// debian-bookworm. Without a version the release is not known.
func distroOf(q string) (inventory.Release, bool) {
	i := strings.LastIndexByte(q, '-')
	if i <= 0 || i == len(q)-1 {
		return inventory.Release{}, false
	}
	return releaseOf(q[:i], q[i+1:]), true
}

// systemOf is the release of the operating system the document names. Two that
// differ are none.
func systemOf(all []*cdx.Component) inventory.Release {
	var found inventory.Release
	for _, c := range all {
		if c.Type != cdx.ComponentTypeOS || c.Version == "" {
			continue
		}
		r := releaseOf(c.Name, c.Version)
		if found != (inventory.Release{}) && found != r {
			return inventory.Release{}
		}
		found = r
	}
	return found
}

// agree reports whether a purl's namespace may stand beside a release: it is of
// the same distribution, or of none we know (a vendor).
func agree(namespace string, r inventory.Release) bool {
	ns := releaseOf(namespace, "").Distro
	return namespace == "" || r.Distro == "" || ns == r.Distro || !knownDistro[ns]
}

// knownDistro holds the distributions whose names as a namespace are a claim.
var knownDistro = map[string]bool{
	"almalinux": true, "amazon": true, "alpine": true, "centos": true, "debian": true, "fedora": true, "opensuse": true,
	"oracle": true, "rhel": true, "rocky": true, "suse": true, "ubuntu": true,
}
