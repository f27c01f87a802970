package kernel

import (
	"strings"

	"github.com/patchproof/patchproof/schema"
)

// owners holds the package of each kernel release that packages install.
type owners map[string]*schema.Package

func ownersOf(packages []schema.Package) owners {
	o := make(owners)
	for i := range packages {
		p := &packages[i]
		var release string
		switch p.Format {
		case schema.FormatDeb:
			release = debRelease(p.Name)
		case schema.FormatRPM:
			release = rpmRelease(p)
		}
		if release == "" {
			continue
		}
		if old := o[release]; old == nil || closer(p, old) {
			o[release] = p
		}
	}
	return o
}

// closer prefers the package that holds the image over one that only pulls it
// in, and otherwise has one answer whatever the order.
func closer(p, old *schema.Package) bool {
	if core := strings.HasSuffix(p.Name, "-core"); core != strings.HasSuffix(old.Name, "-core") {
		return core
	}
	return full(p) < full(old)
}

func (o owners) of(release string) string {
	if p := o[release]; p != nil {
		return full(p)
	}
	return ""
}

// debImages are the names Debian, Ubuntu and Proxmox give packages with a
// kernel image, each followed by the release.
var debImages = []string{"linux-image-unsigned-", "linux-image-uc-", "linux-image-", "proxmox-kernel-", "pve-kernel-"}

// debRelease returns the release a package installs, empty when it is none.
func debRelease(name string) string {
	for _, prefix := range debImages {
		release, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		if release = strings.TrimSuffix(release, "-signed"); plausible(release) && !strings.HasSuffix(release, "-dbg") {
			return release
		}
	}
	return ""
}

// rpmFlavours are the kernel packages that hold an image, with what their
// release has behind version, release and architecture.
var rpmFlavours = map[string]string{
	"kernel": "", "kernel-core": "", "kernel-lt": "", "kernel-ml": "",
	"kernel-debug": "+debug", "kernel-debug-core": "+debug",
	"kernel-rt": "", "kernel-rt-core": "", "kernel-rt-debug-core": "+debug",
	"kernel-64k": "+64k", "kernel-64k-core": "+64k", "kernel-16k-core": "+16k",
	"kernel-rt-64k-core": "+64k",
	"kernel-uek":         "", "kernel-uek-core": "", "kernel-uek-debug-core": "+debug", "kernel-uek64k-core": "",
}

// suseFlavours are SUSE's kernel packages; the flavour ends the release, and the
// rebuild count that ends the package's own release is not in it: kernel-default
// 5.14.21-150500.55.31.1 installs 5.14.21-150500.55.31-default.
var suseFlavours = []string{"default", "azure", "64kb", "rt", "preempt", "kvmsmall", "debug"}

// rpmRelease returns the release a package installs, empty when it is none.
func rpmRelease(p *schema.Package) string {
	if !strings.HasPrefix(p.Name, "kernel") {
		return ""
	}
	if suffix, ok := rpmFlavours[p.Name]; ok || amazonKernel(p.Name) {
		return p.Version + "-" + p.Release + "." + p.Arch + suffix
	}
	for _, flavour := range suseFlavours {
		if p.Name == "kernel-"+flavour || p.Name == "kernel-"+flavour+"-base" {
			release := p.Release
			if i := strings.LastIndexByte(release, '.'); i > 0 {
				release = release[:i]
			}
			return p.Version + "-" + release + "-" + flavour
		}
	}
	return ""
}

// amazonKernel: Amazon Linux 2023 names later kernels kernel6.12.
func amazonKernel(name string) bool {
	version, ok := strings.CutPrefix(name, "kernel")
	if !ok || version == "" || version[0] < '0' || version[0] > '9' {
		return false
	}
	return strings.Trim(version, "0123456789.") == ""
}

// full names a package as its manager does: name_version, or NEVRA with the
// epoch where rpm prints it.
func full(p *schema.Package) string {
	if p.Format == schema.FormatDeb {
		return p.Name + "_" + p.EVR()
	}
	return p.Name + "-" + p.EVR() + "." + p.Arch
}
