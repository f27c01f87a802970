package schema

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// PartStale names the part that lists the code processes still run though it
// was deleted or replaced on disk, see EncodeStale. The part is there, perhaps
// empty, when the host was looked at; without it a gap says why not.
const PartStale = "stale"

// Kinds of stale code.
const (
	// StaleReplaced: another file has the path now, so there is a newer version.
	StaleReplaced = "replaced"
	// StaleDeleted: nothing has the path any more.
	StaleDeleted = "deleted"
	// StaleModule: a module an interpreter loaded changed on disk since.
	StaleModule = "module"
)

// Stale is one file that one process runs in a version that is no longer on disk.
type Stale struct {
	// Package owns the path now, as its manager names it: binary package, and
	// architecture. Both are empty when none does, and in a container.
	Package string `json:"package,omitempty"`
	Arch    string `json:"arch,omitempty"`
	// Loaded is the version of the package when the process started, as EVR
	// prints it, by the package manager's own log; empty when not known.
	Loaded string `json:"loaded,omitempty"`
	// Path is as the process sees it, Kind one of the Stale constants.
	Path string `json:"path"`
	Kind string `json:"kind"`
	// PID, Started (Unix seconds) and Command (the kernel's comm) tell the process.
	PID     int    `json:"pid"`
	Started int64  `json:"started,omitempty"`
	Command string `json:"command,omitempty"`
	// Unit is its systemd unit, Container the id of its container, empty for none.
	Unit      string `json:"unit,omitempty"`
	Container string `json:"container,omitempty"`
}

// Columns of the stale text, in order.
const (
	staleColPackage = iota
	staleColArch
	staleColLoaded
	staleColPath
	staleColKind
	staleColPID
	staleColStarted
	staleColCommand
	staleColUnit
	staleColContainer
	staleColumns
)

var staleColumnNames = [staleColumns]string{
	"package", "arch", "loaded", "path", "kind", "pid", "started", "command", "unit", "container",
}

// EncodeStale returns the canonical text of stale code: one file of one process
// a line, tab-separated columns in the order of Stale's fields, sorted and
// escaped as EncodePackages does.
func EncodeStale(list []Stale) (string, error) {
	if len(list) > MaxStale {
		return "", fmt.Errorf("encode stale code: %d lines, at most %d", len(list), MaxStale)
	}
	text := make([]string, len(list))
	size := 0
	for i := range list {
		if err := checkStale(&list[i]); err != nil {
			return "", fmt.Errorf("encode stale code %d (%.80q): %w", i, list[i].Path, err)
		}
		text[i] = string(appendStale(nil, &list[i]))
		size += len(text[i]) + 1
	}
	if size > MaxPart {
		return "", fmt.Errorf("encode stale code: %d bytes, at most %d", size, MaxPart)
	}
	slices.Sort(text)
	return joinLines(slices.Compact(text), size), nil
}

func appendStale(b []byte, s *Stale) []byte {
	b = appendField(b, s.Package)
	b = appendField(append(b, '\t'), s.Arch)
	b = appendField(append(b, '\t'), s.Loaded)
	b = appendField(append(b, '\t'), s.Path)
	b = appendField(append(b, '\t'), s.Kind)
	b = strconv.AppendInt(append(b, '\t'), int64(s.PID), 10)
	b = strconv.AppendInt(append(b, '\t'), s.Started, 10)
	b = appendField(append(b, '\t'), s.Command)
	b = appendField(append(b, '\t'), s.Unit)
	return appendField(append(b, '\t'), s.Container)
}

// DecodeStale returns the stale code a canonical text lists, in its order. It
// refuses anything EncodeStale would not have written; the error is a *Refusal.
func DecodeStale(text string) ([]Stale, error) {
	if len(text) > MaxPart {
		return nil, Refuse(ReasonTooLarge, "stale text: %d bytes, at most %d", len(text), MaxPart)
	}
	if !utf8.ValidString(text) {
		return nil, Refuse(ReasonInvalidUTF8, "stale text is not UTF-8")
	}
	if err := checkLastLine(text); err != nil {
		return nil, Refuse(ReasonBodyNotCanonical, "stale text: %w", err)
	}
	count := strings.Count(text, "\n")
	if count > MaxStale {
		return nil, Refuse(ReasonTooLarge, "stale text: %d lines, at most %d", count, MaxStale)
	}
	list, previous := make([]Stale, 0, count), ""
	for n, line := range lines(text) {
		if n > 1 && line <= previous {
			return nil, Refuse(ReasonBodyNotCanonical, "stale text line %d: not after the line before it", n)
		}
		previous = line
		s, err := decodeStaleLine(line)
		if err != nil {
			return nil, Refuse(ReasonBodyNotCanonical, "stale text line %d: %w", n, err)
		}
		list = append(list, s)
	}
	return list, nil
}

func decodeStaleLine(line string) (Stale, error) {
	if c, bad := findControl(line, '\t'); bad {
		return Stale{}, fmt.Errorf("control character %#02x: want it escaped as \\xhh", c)
	}
	fields := strings.Split(line, "\t")
	if len(fields) != staleColumns {
		return Stale{}, fmt.Errorf("%d columns, want %d", len(fields), staleColumns)
	}
	for i := range fields {
		var err error
		if fields[i], err = unescape(fields[i]); err != nil {
			return Stale{}, fmt.Errorf("%s: %w", staleColumnNames[i], err)
		}
	}
	pid, ok := decimal(fields[staleColPID], maxPID)
	if !ok {
		return Stale{}, fmt.Errorf("pid %.40q: want a decimal number up to %d", fields[staleColPID], maxPID)
	}
	started, ok := decimal(fields[staleColStarted], maxUnix)
	if !ok {
		return Stale{}, fmt.Errorf("started %.40q: want Unix seconds", fields[staleColStarted])
	}
	s := Stale{
		Package: fields[staleColPackage], Arch: fields[staleColArch], Loaded: fields[staleColLoaded],
		Path: fields[staleColPath], Kind: fields[staleColKind], PID: int(pid), Started: started,
		Command: fields[staleColCommand], Unit: fields[staleColUnit], Container: fields[staleColContainer],
	}
	return s, checkStale(&s)
}

// maxPID is the kernel's own limit (PID_MAX_LIMIT).
const maxPID = 1 << 22

func checkStale(s *Stale) error {
	switch s.Kind {
	case StaleReplaced, StaleDeleted, StaleModule:
	default:
		return fmt.Errorf("kind %.40q: want %s, %s or %s", s.Kind, StaleReplaced, StaleDeleted, StaleModule)
	}
	if s.Path == "" {
		return errors.New("path must not be empty")
	}
	if s.PID < 1 || s.PID > maxPID {
		return fmt.Errorf("pid %d: want 1 to %d", s.PID, maxPID)
	}
	if s.Started < 0 || s.Started > maxUnix {
		return fmt.Errorf("started %d: want Unix seconds", s.Started)
	}
	longest := max(len(s.Package), len(s.Arch), len(s.Loaded), len(s.Command), len(s.Unit), len(s.Container))
	if longest > MaxField {
		return fmt.Errorf("a field of %d bytes, at most %d", longest, MaxField)
	}
	if len(s.Path) > maxPath {
		return fmt.Errorf("a path of %d bytes, at most %d", len(s.Path), maxPath)
	}
	return nil
}

// maxPath is the most bytes of a path the kernel takes (PATH_MAX).
const maxPath = 4096
