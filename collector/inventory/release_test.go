package inventory_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchproof/patchproof/collector/inventory"
)

// ID and VERSION_ID as each distribution's os-release has them.
func TestReleaseOf(t *testing.T) {
	for _, tc := range []struct{ id, versionID, want string }{
		{"debian", "12", "debian:12"},
		{"debian", "", "debian:"}, // testing and unstable have no VERSION_ID; no feed covers this
		{"ubuntu", "20.04", "ubuntu:20.04"},
		{"ubuntu", "22.04", "ubuntu:22.04"},
		{"almalinux", "9.3", "almalinux:9"},
		{"almalinux", "10.0", "almalinux:10"},
		{"rhel", "8.0", "rhel:8"},
		{"rhel", "9.0", "rhel:9"},
		{"rocky", "9.1", "rocky:9"},
		{"ol", "9.0", "oracle:9"},
		{"centos", "7", "centos:7"},
		{"amzn", "2", "amazon:2"},
		{"amzn", "2023", "amazon:2023"},
		{"amzn", "2023.3.20240312", "amazon:2023"},
		{"amzn", "2018.03", "amazon:1"},
		{"alpine", "3.19.0", "alpine:3.19"},
		{"alpine", "3.19", "alpine:3.19"},
		{"sles", "15.3", "suse:15.3"},
		{"sles_sap", "15.5", "suse:15.5"},
		{"opensuse-leap", "15.6", "opensuse:15.6"},
		{"fedora", "41", "fedora:41"},
		{"Debian", " 12 ", "debian:12"},
		{"bottlerocket", "1.20.1", "bottlerocket:1.20.1"},
		{"arch", "", "arch:"},
		{"", "12", "unknown"},
		{"", "", "unknown"},
	} {
		t.Run(tc.id+"_"+tc.versionID, func(t *testing.T) {
			if got := inventory.ReleaseOf(tc.id, tc.versionID).String(); got != tc.want {
				t.Errorf("ReleaseOf(%q, %q): got %s, want %s", tc.id, tc.versionID, got, tc.want)
			}
		})
	}
}

// osReleaseID is what os-release says where the recorded hosts name the family.
var osReleaseID = map[string]string{
	"alma": "almalinux", "alpine": "alpine", "amazon": "amzn", "debian": "debian", "oracle": "ol", "redhat": "rhel",
	"rocky": "rocky", "suse.linux.enterprise.server": "sles", "ubuntu": "ubuntu",
}

func TestReleaseOfRecordedHosts(t *testing.T) {
	want := map[string]string{
		"alma_9": "almalinux:9", "alpine_319": "alpine:3.19", "amazon_2": "amazon:2", "amazon_2023": "amazon:2023", "debian_12": "debian:12",
		"oracle_9": "oracle:9", "rhel_80": "rhel:8", "rhel_90": "rhel:9", "rocky_9": "rocky:9", "sles15": "suse:15.3",
		"ubuntu_2004": "ubuntu:20.04", "ubuntu_2204": "ubuntu:22.04",
	}
	for name, release := range want {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(sharedHosts(t), "vulsio-integration", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			var host struct{ Family, Release string }
			if err := json.Unmarshal(data, &host); err != nil {
				t.Fatal(err)
			}
			id, ok := osReleaseID[host.Family]
			if !ok {
				t.Fatalf("family %q has no os-release ID in this test", host.Family)
			}
			if got := inventory.ReleaseOf(id, host.Release).String(); got != release {
				t.Errorf("got %s, want %s", got, release)
			}
		})
	}
}

func TestReleaseOfARecordedOSRelease(t *testing.T) {
	f, err := os.Open(filepath.Join(sharedHosts(t), "this-machine-debian12", "os-release"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	values := map[string]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), "=")
		values[key] = strings.Trim(value, `"`)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if got := inventory.ReleaseOf(values["ID"], values["VERSION_ID"]).String(); got != "debian:12" {
		t.Errorf("got %s, want debian:12", got)
	}
}

// sharedHosts finds the recorded hosts beside the repository's root.
func sharedHosts(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above this package")
		}
		dir = filepath.Dir(dir)
	}
	hosts := filepath.Join(dir, "..", "shared", "data", "hosts")
	if _, err := os.Stat(hosts); err != nil {
		t.Skip("../shared/data/hosts is not beside the checkout: no recorded hosts to read")
	}
	return hosts
}
