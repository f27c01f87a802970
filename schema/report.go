package schema

import "time"

// ReportType is the in-toto predicate type of a Report.
const ReportType = "https://patchproof.dev/report/v1"

// StatementType is the in-toto Statement type every payload carries.
const StatementType = "https://in-toto.io/Statement/v1"

// PartPackages names the package part: the canonical text of every installed
// package, see EncodePackages.
const PartPackages = "packages"

// Report is one full statement by a host: every part of what is on it, named
// by digest. A part that changed since the host's last receipt travels in
// Bodies; an unchanged one goes by digest only.
type Report struct {
	// Sequence counts the reports sealed by this evidence key, from 1.
	Sequence uint64 `json:"sequence"`
	// Previous is the id of the report sealed before this one, empty for the first.
	Previous string `json:"previous,omitempty"`
	// CollectedAt is the host's own clock, a claim.
	CollectedAt time.Time `json:"collected_at"`
	// TransportKey is the NATS user key (U...) this host publishes with. It
	// binds the road's subject to the evidence key.
	TransportKey string `json:"transport_key"`
	// Offline says that the host is set up to reach no collector: its reports travel
	// by hand, in full. A claim; it makes dates stricter, never looser.
	Offline bool `json:"offline,omitempty"`
	// LastReceipt is the newest receipt the host had seen when it sealed this report,
	// as the collector signed it. Nobody could have known its signature before, so it
	// proves that the report is not older than the receipt. Empty before the first.
	LastReceipt string `json:"last_receipt,omitempty"`

	Agent  Agent             `json:"agent"`
	Host   Host              `json:"host"`
	OS     OSRelease         `json:"os"`
	Kernel Kernel            `json:"kernel"`
	Boot   Boot              `json:"boot"`
	Cloud  *Cloud            `json:"cloud,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`

	// Parts names every part of the statement, sorted by name.
	Parts []Part `json:"parts"`
	// Bodies holds the parts that travel in this envelope, by part name.
	Bodies map[string]string `json:"bodies,omitempty"`
	// Gaps lists what could not be read. Absence of data is never absence of exposure.
	Gaps []Gap `json:"gaps,omitempty"`
	Cost Cost  `json:"cost"`
}

// Agent says which agent made a report.
type Agent struct {
	Version string `json:"version"`
	// GoVersion and Platform (os/arch) of the binary.
	GoVersion string `json:"go_version"`
	Platform  string `json:"platform"`
}

// Host holds facts of the machine, each a claim by the host.
type Host struct {
	Hostname    string `json:"hostname"`
	Arch        string `json:"arch"` // as the kernel says: x86_64, aarch64
	MachineID   string `json:"machine_id,omitempty"`
	ProductUUID string `json:"product_uuid,omitempty"`
	// InstanceID is what cloud-init's files call this instance. What the metadata
	// service says is in Cloud.
	InstanceID     string   `json:"instance_id,omitempty"`
	ProductVendor  string   `json:"product_vendor,omitempty"`
	ProductName    string   `json:"product_name,omitempty"`
	CPUs           int      `json:"cpus,omitempty"`
	MemoryBytes    uint64   `json:"memory_bytes,omitempty"`
	Virtualization string   `json:"virtualization,omitempty"`
	Addresses      []string `json:"addresses,omitempty"`
}

// OSRelease restates os-release(5).
type OSRelease struct {
	ID         string   `json:"id"`
	IDLike     []string `json:"id_like,omitempty"`
	VersionID  string   `json:"version_id,omitempty"`
	Codename   string   `json:"codename,omitempty"`
	Name       string   `json:"name,omitempty"`
	PrettyName string   `json:"pretty_name,omitempty"`
	CPEName    string   `json:"cpe_name,omitempty"`
}

// Kernel says which kernel runs and which are installed.
type Kernel struct {
	// Release is uname -r of the running kernel, empty when it is not known
	// (an image, or a root that is not the running system).
	Release string `json:"release,omitempty"`
	// Version is uname -v.
	Version string `json:"version,omitempty"`
	Machine string `json:"machine,omitempty"`
	// CommandLine is what the boot loader handed to the running kernel (/proc/cmdline).
	CommandLine string `json:"command_line,omitempty"`
	// Lockdown is none, integrity or confidentiality, empty where the kernel
	// does not say (kernel_lockdown(7)).
	Lockdown string `json:"lockdown,omitempty"`
	// Tainted is the running kernel's taint mask (/proc/sys/kernel/tainted).
	Tainted uint64 `json:"tainted,omitempty"`
	// Installed lists the kernel releases found under /boot and /lib/modules, sorted.
	Installed []InstalledKernel `json:"installed,omitempty"`
	// NextBoot is the kernel the boot loader takes next, where its files say so.
	NextBoot *NextBoot `json:"next_boot,omitempty"`
	// RebootMarkers are the files by which a distribution asks for a reboot.
	RebootMarkers []RebootMarker `json:"reboot_markers,omitempty"`
	// LivePatches are those of the running kernel: in the kernel, or on disk for
	// it. Sorted by provider and name.
	LivePatches []LivePatch `json:"live_patches,omitempty"`
}

// InstalledKernel is one kernel found on disk.
type InstalledKernel struct {
	Release string `json:"release"`
	// Package is the binary package that owns it (name_version or NEVRA as the
	// manager says), empty when none is known.
	Package string `json:"package,omitempty"`
}

// Boot identifies the current boot.
type Boot struct {
	ID   string    `json:"id,omitempty"`
	Time time.Time `json:"time,omitzero"`
}

// Cloud is what the instance metadata service says (IMDSv2).
type Cloud struct {
	Provider         string            `json:"provider"`
	AccountID        string            `json:"account_id,omitempty"`
	Region           string            `json:"region,omitempty"`
	AvailabilityZone string            `json:"availability_zone,omitempty"`
	InstanceID       string            `json:"instance_id,omitempty"`
	InstanceType     string            `json:"instance_type,omitempty"`
	ImageID          string            `json:"image_id,omitempty"`
	Tags             map[string]string `json:"tags,omitempty"`
	// IdentityDocument and IdentitySignature (PKCS#7, base64) as served, unverified.
	IdentityDocument  string `json:"identity_document,omitempty"`
	IdentitySignature string `json:"identity_signature,omitempty"`
}

// Part names one part of a statement by the SHA-256 (hex) of its canonical text.
type Part struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
	// Size in bytes and Count in lines of the canonical text.
	Size  int64 `json:"size"`
	Count int   `json:"count"`
}

// Gap is something an extractor could not read.
type Gap struct {
	// Extractor is dpkg, rpm, os-release, kernel, host, imds, ...
	Extractor string `json:"extractor"`
	// Kind is a stable word: unreadable, corrupt, truncated, unsupported, unowned, timeout.
	Kind   string `json:"kind"`
	Path   string `json:"path,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Cost is what the scan took from the host.
type Cost struct {
	CPU         time.Duration `json:"cpu_ns"`
	PeakRSS     int64         `json:"peak_rss_bytes"`
	Duration    time.Duration `json:"duration_ns"`
	PartsReused int           `json:"parts_reused,omitempty"`
}
