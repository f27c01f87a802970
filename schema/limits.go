package schema

// Limits of a report. Both sides hold them: an encoder refuses what a decoder
// would.
const (
	// MaxStatement is the most bytes of a statement's JSON, which is what an
	// envelope may inflate to.
	MaxStatement = 64 << 20
	// MaxPart is the most bytes of one part's canonical text.
	MaxPart = 32 << 20
	// MaxPackages is the most lines of the package part; the largest hosts we
	// know of have about 6 000.
	MaxPackages = 100_000
	// MaxField is the most bytes of one field of a package, before escaping.
	MaxField = 1024
	// MaxEpoch is the largest epoch dpkg and rpm both take.
	MaxEpoch = 1<<31 - 1
	// MaxParts is the most parts of a report.
	MaxParts = 32
	// MaxGaps is the most gaps of a report. An encoder folds the rest into one.
	MaxGaps = 1024
	// MaxLabels is the most labels, and the most cloud tags.
	MaxLabels = 64
	// MaxInstalledKernels is the most kernels found on disk.
	MaxInstalledKernels = 256
	// MaxLivePatches is the most live patches of a kernel; providers cumulate
	// theirs, so a handful is many. MaxLivePatchWords is the most patched objects
	// of one, MaxLivePatchFixes the most vulnerabilities.
	MaxLivePatches    = 16
	MaxLivePatchWords = 64
	MaxLivePatchFixes = 256
	// MaxRebootMarkers is the most files that ask for a reboot, and
	// MaxMarkerPackages the most packages one names.
	MaxRebootMarkers  = 8
	MaxMarkerPackages = 64
	// MaxStale is the most lines of the stale part.
	MaxStale = 20_000
	// MaxAddresses is the most addresses of a host.
	MaxAddresses = 1024
	// MaxIDLike is the most entries of os-release ID_LIKE.
	MaxIDLike = 16
	// MaxLastReceipt is the most bytes of the receipt's envelope that a report
	// carries as proof of its age; an accepting one has under a kilobyte.
	MaxLastReceipt = 4096
	// MaxInteger is the largest integer JSON carries exactly everywhere (RFC 7493).
	MaxInteger = 1<<53 - 1

	// maxName bounds identifiers and keys, maxText a line of free text, maxLong
	// an identity document.
	maxName = 256
	maxText = 1024
	maxLong = 16 << 10
	// maxCommandLine is the most bytes of a kernel's command line (COMMAND_LINE_SIZE).
	maxCommandLine = 4096
	// maxValues is the most values of one JSON text: all lists full come to about
	// 15 000.
	maxValues = 16 << 10
	// maxUnix is the last second of the year 9999.
	maxUnix = 253402300799
)
