package schema

// Kinds of gaps.
const (
	// GapUnreadable: it is there, or should be, and could not be read.
	GapUnreadable = "unreadable"
	// GapCorrupt: it was read and makes no sense.
	GapCorrupt = "corrupt"
	// GapTruncated: it ends early, or is more than is read.
	GapTruncated = "truncated"
	// GapUnsupported: it is of a kind this agent does not know.
	GapUnsupported = "unsupported"
	// GapUnowned: software is there and no package owns it.
	GapUnowned = "unowned"
	// GapTimeout: it did not answer in time.
	GapTimeout = "timeout"
	// GapBack: it is in use no more by somebody's word, and reports. The collector
	// says so, never a host.
	GapBack = "back"
)
