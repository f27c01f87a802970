package schema

// Providers of live patches, told by how their modules, packages and files look.
const (
	// ProviderAmazon is Amazon Linux's kernel-livepatch.
	ProviderAmazon = "amazon"
	// ProviderKpatch is kpatch-patch of RHEL, CentOS and their kin.
	ProviderKpatch = "kpatch"
	// ProviderSUSE is SUSE's kernel-livepatch.
	ProviderSUSE = "suse"
	// ProviderCanonical is Canonical Livepatch.
	ProviderCanonical = "canonical"
	// ProviderKsplice is Oracle Ksplice.
	ProviderKsplice = "ksplice"
	// ProviderKernelCare is TuxCare KernelCare.
	ProviderKernelCare = "kernelcare"
	// ProviderOther is a live patch of nobody we know, such as one made on the host.
	ProviderOther = "other"
)

// LivePatch is one live patch of the running kernel, as the kernel's own files
// (/sys/kernel/livepatch, /sys/module) or the provider's tell of it. On disk
// only, it does nothing: Loaded and Enabled are false.
type LivePatch struct {
	// Provider is one of the Provider constants.
	Provider string `json:"provider"`
	// Name is the module's, with underscores as the kernel spells it, or the
	// provider's own name where there is no module.
	Name string `json:"name"`
	// Version is the module's (MODULE_VERSION) or the provider's own, empty when
	// none is stated. SrcVersion and BuildID identify the module's code.
	Version    string `json:"version,omitempty"`
	SrcVersion string `json:"src_version,omitempty"`
	BuildID    string `json:"build_id,omitempty"`
	// Package installed the module (its full name, as the package manager prints
	// it), File is where it lies; both empty when not known.
	Package string `json:"package,omitempty"`
	File    string `json:"file,omitempty"`
	// Loaded: the module is in the kernel. Enabled: the kernel runs its code.
	// Transition: some tasks do not yet, or still do; Stuck counts them.
	Loaded     bool `json:"loaded"`
	Enabled    bool `json:"enabled"`
	Transition bool `json:"transition"`
	Stuck      int  `json:"stuck,omitempty"`
	// Objects are what is patched (vmlinux, modules), sorted; Functions counts
	// the functions in them.
	Objects   []string `json:"objects,omitempty"`
	Functions int      `json:"functions,omitempty"`
	// Effective is the kernel version that the running one is as good as, where
	// the provider states one (Ksplice, KernelCare).
	Effective string `json:"effective,omitempty"`
	// Fixes are the vulnerabilities the provider says it covers, sorted.
	Fixes []string `json:"fixes,omitempty"`
	// Supported is how long patches are made for this kernel, as the provider
	// states it (2025-07-22), and State its own word for how it is (applied,
	// nothing-to-apply, apply-failed, ...).
	Supported string `json:"supported,omitempty"`
	State     string `json:"state,omitempty"`
}

// InForce reports whether the kernel runs nothing but the patched code.
func (p LivePatch) InForce() bool { return p.Loaded && p.Enabled && !p.Transition }

// NextBoot is the kernel that the boot loader's files choose.
type NextBoot struct {
	// Release is uname -r of it, empty when the entry names no release we can read.
	Release string `json:"release,omitempty"`
	// Loader is grub, bls or systemd-boot; Entry is its own name of the choice.
	Loader string `json:"loader"`
	Entry  string `json:"entry,omitempty"`
}

// RebootMarker is a file by which a distribution says that a reboot is due.
type RebootMarker struct {
	Path string `json:"path"`
	// Packages are those the file names, sorted.
	Packages []string `json:"packages,omitempty"`
}
