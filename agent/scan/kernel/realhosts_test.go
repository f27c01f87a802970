package kernel_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/patchproof/patchproof/agent/scan/kernel"
	"github.com/patchproof/patchproof/schema"
)

// hostsDir is the folder of real host inventories beside the checkout.
func hostsDir(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
			continue
		}
		hosts := filepath.Join(dir, "..", "shared", "data", "hosts", "vulsio-integration")
		if _, err := os.Stat(hosts); err != nil {
			t.Skipf("no real hosts beside the checkout: %v", err)
		}
		return hosts
	}
	t.Fatal("no go.mod above the test")
	return ""
}

// The running kernel of each real host belongs to a package installed there.
func TestOwnerOnRealHosts(t *testing.T) {
	dir := hostsDir(t)
	for name, want := range map[string]string{
		"alma_9":      "kernel-core-5.14.0-70.13.1.el9_0.x86_64",
		"rhel_80":     "kernel-core-4.18.0-32.el8.x86_64",
		"rhel_90":     "kernel-core-5.14.0-70.13.1.el9_0.x86_64",
		"rocky_9":     "kernel-core-5.14.0-162.6.1.el9_1.x86_64",
		"oracle_9":    "kernel-uek-core-5.15.0-0.30.20.el9uek.x86_64",
		"amazon_2":    "kernel-4.14.314-237.533.amzn2.x86_64",
		"amazon_2023": "kernel-6.1.79-99.164.amzn2023.x86_64",
		"debian_12":   "linux-image-6.1.0-29-amd64_6.1.123-1",
		"ubuntu_2004": "linux-image-5.4.0-139-generic_5.4.0-139.156",
		"ubuntu_2204": "linux-image-5.15.0-69-generic_5.15.0-69.76",
		"sles15":      "kernel-default-5.3.18-59.37.2.x86_64",
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join(dir, name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			var host struct {
				Family        string
				RunningKernel struct{ Release string }
				Packages      map[string]struct{ Name, Version, Release, Arch string }
			}
			if err := json.Unmarshal(raw, &host); err != nil {
				t.Fatal(err)
			}
			format := schema.FormatRPM
			if host.Family == "debian" || host.Family == "ubuntu" {
				format = schema.FormatDeb
			}
			var packages []schema.Package
			for _, p := range host.Packages {
				packages = append(packages, schema.Package{
					Format: format, Name: p.Name, Version: p.Version, Release: p.Release, Arch: p.Arch,
				})
			}
			if got := kernel.Owner(host.RunningKernel.Release, packages); got != want {
				t.Errorf("%s belongs to %q, want %q", host.RunningKernel.Release, got, want)
			}
		})
	}
}
