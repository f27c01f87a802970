#!/bin/sh
# Makes the fixtures in this directory from packages built here, with real tools:
#
#   Packages.db  ndb, by an rpm 4.18 configured with --enable-ndb (RPM_NDB)
#   Packages     Berkeley DB hash, by db5.3_load from the same headers
#   inline/Packages  the same with pages so large that headers stay inside them
#   rpm-qa.txt   what `rpm -qa` says of them
#
# Distributions build rpm for one of these only, so the tests that run the host's
# rpm cover SQLite, and read Packages with its read-only Berkeley DB backend.
set -eu
cd "$(dirname "$0")"
: "${RPM_NDB:?an rpm built with --enable-ndb}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

spec() { # name, further tags
    cat >"$work/$1.spec" <<S
Name: $1
Version: ${2}
Release: ${3}
Summary: made for tests
License: MIT
BuildArch: noarch
AutoReqProv: no
$4
%description
Made for tests.
%files
S
    rpmbuild --quiet --define "_topdir $work/top" -bb "$work/$1.spec"
}
spec plain 1.0 1.el9 ""
spec epoch 2.0~rc1 3.el9 "Epoch: 5
Vendor: Example Packages"
spec modular 18.17.1 1.module_el9 "ModularityLabel: nodejs:18:9020020230825080832:rhel9"
spec caret '1.0^git20240101' 1 ""

root=$work/ndb
mkdir -p "$root"
ndb() { "$RPM_NDB" --root "$root" --define '_db_backend ndb' --define '_dbpath /var/lib/rpm' "$@"; }
ndb -i --nodeps --nosignature --ignorearch --ignoreos "$work"/top/RPMS/noarch/*.rpm
gpg --homedir "$work" --batch --quiet --passphrase '' --quick-gen-key 'Tests <tests@example.org>' rsa2048 sign never
gpg --homedir "$work" --armor --export >"$work/key.asc"
ndb --import "$work/key.asc"
ndb -e plain # leaves a free slot
ndb -i --nodeps --nosignature --ignorearch --ignoreos "$work"/top/RPMS/noarch/plain-*.rpm
cp "$root/var/lib/rpm/Packages.db" Packages.db
ndb -qa --qf '%{NAME} %{EPOCHNUM} %{VERSION} %{RELEASE} %{ARCH} %{SOURCERPM} %{VENDOR} %{MODULARITYLABEL} %{INSTALLTIME}\n' |
    LC_ALL=C sort >rpm-qa.txt

python3 - Packages.db >"$work/dump" <<'P'
import struct, sys
db = open(sys.argv[1], "rb").read()
pages = struct.unpack_from("<I", db, 12)[0]
rows = []
for at in range(32, pages * 4096, 16):
    magic, index, block, _ = struct.unpack_from("<4sIII", db, at)
    if magic == b"Slot" and index:
        size = struct.unpack_from("<I", db, block * 16 + 12)[0]
        rows.append((index, db[block * 16 + 16 : block * 16 + 16 + size]))
print("VERSION=3\nformat=bytevalue\ntype=hash\ndb_pagesize=512\nHEADER=END")
for key, value in [(0, struct.pack("<I", len(rows)))] + rows:
    print("", struct.pack("<I", key).hex())
    print("", value.hex())
print("DATA=END")
P
rm -f Packages
db5.3_load -f "$work/dump" Packages
mkdir -p inline
rm -f inline/Packages
sed 's/db_pagesize=512/db_pagesize=16384/' "$work/dump" >"$work/dump.inline"
db5.3_load -f "$work/dump.inline" inline/Packages
ls -l Packages Packages.db inline/Packages
