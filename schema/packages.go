package schema

import "strconv"

// PackageFormat is the package manager's family, which decides version order.
type PackageFormat string

// Package formats.
const (
	FormatDeb PackageFormat = "deb"
	FormatRPM PackageFormat = "rpm"
)

// What a package's Status may be. All but StatusInstalled are a deb's states in
// between; its files are on disk in each of them.
const (
	StatusInstalled       = "installed"
	StatusUnpacked        = "unpacked"
	StatusHalfConfigured  = "half-configured"
	StatusHalfInstalled   = "half-installed"
	StatusTriggersAwaited = "triggers-awaited"
	StatusTriggersPending = "triggers-pending"
)

// Package is one installed package as its manager records it. Name is the
// binary package; Source is the source package it was built from (for rpm
// parsed from SOURCERPM), equal to Name when the manager says nothing else.
type Package struct {
	Format PackageFormat `json:"format"`
	Name   string        `json:"name"`
	// Epoch is decimal, 0 when none is recorded.
	Epoch int `json:"epoch"`
	// Version and Release. For deb, Version is the upstream version and Release
	// the Debian revision (empty for native packages).
	Version string `json:"version"`
	Release string `json:"release,omitempty"`
	Arch    string `json:"arch,omitempty"`
	Source  string `json:"source"`
	// SourceVersion is the source's full version [epoch:]version[-release] as the format writes it.
	SourceVersion string `json:"source_version"`
	// Vendor is the rpm Vendor or the deb Origin, empty when not recorded.
	Vendor string `json:"vendor,omitempty"`
	// Module is the rpm modularity label NAME:STREAM:VERSION:CONTEXT.
	Module string `json:"module,omitempty"`
	// InstalledAt is Unix seconds, 0 when not recorded.
	InstalledAt int64 `json:"installed_at,omitempty"`
	// Status is installed, or what a deb is in between: unpacked, half-configured,
	// half-installed, triggers-awaited, triggers-pending. Rows whose files are gone
	// (not-installed, config-files) are not packages and are never listed.
	Status string `json:"status"`
}

// EVR returns the full version as the format's tools print it:
// [epoch:]version[-release], with no epoch when it is 0.
func (p Package) EVR() string {
	s := p.Version
	if p.Release != "" {
		s += "-" + p.Release
	}
	if p.Epoch != 0 {
		s = strconv.Itoa(p.Epoch) + ":" + s
	}
	return s
}
