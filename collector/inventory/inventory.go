// Package inventory holds the nouns of what is on an asset: its distribution
// release, its package set and its running kernel.
package inventory

import "github.com/patchproof/patchproof/schema"

// Release is a distribution release at the grain vendors publish advisories
// for: debian 12, ubuntu 22.04, almalinux 9, rhel 9, rocky 9, oracle 9, amazon 2023.
// The zero value is an unknown release.
type Release struct {
	Distro  string `json:"distro"`
	Version string `json:"version"`
}

// String is "debian:12", or "unknown" for the zero value. It is the key feeds,
// indexes and coverage use.
func (r Release) String() string {
	if r.Distro == "" {
		return "unknown"
	}
	return r.Distro + ":" + r.Version
}

// Set is a package set: the parsed package part with its digest.
type Set struct {
	// Digest is the SHA-256 (hex) of the canonical text.
	Digest   string
	Packages []schema.Package
}

// Kernel says what runs. Release is uname -r, empty when unknown (an SBOM, an image).
type Kernel struct {
	Release string `json:"release,omitempty"`
	Version string `json:"version,omitempty"`
	Machine string `json:"machine,omitempty"`
	// LivePatches are those of the running kernel, in force or not.
	LivePatches []schema.LivePatch `json:"live_patches,omitempty"`
}

// KernelOf returns what a report says of the kernel that runs.
func KernelOf(k schema.Kernel) Kernel {
	return Kernel{Release: k.Release, Version: k.Version, Machine: k.Machine, LivePatches: k.LivePatches}
}

// State is one statement about an asset, as far as matching needs it.
type State struct {
	Release Release
	Kernel  Kernel
	Set     Set
	// Stale is the code that processes still run though it is no longer on disk.
	Stale []schema.Stale
}
