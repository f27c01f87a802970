package classify

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of an imported list.
const (
	MaxImport  = 64 << 20 // bytes
	maxEntries = 200_000
	maxTags    = 200
)

// List is what a file says.
type List struct {
	// Format is csv, json, ec2, config, ssm or organizations.
	Format  string
	Digest  string
	Entries []Entry
	// Ignored names columns nobody reads; Skipped counts records of other kinds, by kind.
	Ignored []string
	Skipped map[string]int
}

// ReadImport reads a list of assets: CSV with a header line, or JSON - objects
// with the same names, or what the AWS commands print for EC2, Config, SSM and
// Organizations. The error is an [*Invalid] with every fault; a file with a fault
// says nothing at all, since half a list reads like a whole one.
func ReadImport(data []byte) (List, error) {
	r := &listReader{list: List{Digest: Digest(data), Skipped: map[string]int{}}, seen: map[string]string{}}
	r.read(data)
	if len(r.faults) == 0 && len(r.list.Entries) == 0 {
		r.fail("", "the file lists no asset, account or organizational unit")
	}
	if len(r.faults) > 0 {
		return List{}, &Invalid{Faults: r.faults}
	}
	return r.list, nil
}

type listReader struct {
	list   List
	faults []Fault
	seen   map[string]string // key -> place
	full   bool
}

func (r *listReader) fail(place, format string, args ...any) {
	f := Fault{Message: fmt.Sprintf(format, args...)}
	if n, ok := strings.CutPrefix(place, "line "); ok {
		f.Line, _ = strconv.Atoi(n)
	} else if place != "" {
		f.Message = place + ": " + f.Message
	}
	r.faults = append(r.faults, f)
}

func (r *listReader) read(data []byte) {
	if err := checkEncoding(data); err != nil {
		r.fail("", "%v", err)
		return
	}
	data = bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF"))
	switch body := bytes.TrimSpace(data); {
	case len(body) == 0:
		r.fail("", "the file is empty")
	case body[0] == '{' || body[0] == '[':
		r.json(body)
	default:
		r.csv(data)
	}
}

// checkEncoding tells what a file is when it is no UTF-8 text.
func checkEncoding(data []byte) error {
	switch {
	case len(data) > MaxImport:
		return fmt.Errorf("the file has %d bytes, at most %d", len(data), MaxImport)
	case bytes.HasPrefix(data, []byte{0xFF, 0xFE}), bytes.HasPrefix(data, []byte{0xFE, 0xFF}):
		return errors.New("the file is UTF-16; save it as UTF-8")
	case bytes.HasPrefix(data, []byte{0x1F, 0x8B}):
		return errors.New("the file is compressed; unpack it first")
	case bytes.HasPrefix(data, []byte("PK\x03\x04")):
		return errors.New("the file is a workbook or an archive; save it as CSV (UTF-8)")
	case !utf8.Valid(data):
		return fmt.Errorf("the file is not UTF-8 text, see line %d; save it as UTF-8", invalidLine(data))
	case bytes.IndexByte(data, 0) >= 0:
		return errors.New("the file holds NUL bytes; it is no text")
	}
	return nil
}

func invalidLine(data []byte) int {
	at := 0
	for at < len(data) {
		c, n := utf8.DecodeRune(data[at:])
		if c == utf8.RuneError && n == 1 {
			break
		}
		at += n
	}
	return 1 + bytes.Count(data[:at], []byte("\n"))
}

// add takes an entry that has been filled by take, once.
func (r *listReader) add(e Entry) {
	if len(r.list.Entries) >= maxEntries {
		if !r.full {
			r.fail("", "the file lists more than %d assets", maxEntries)
		}
		r.full = true
		return
	}
	if e.Kind == KindInstance && e.InstanceID == "" && e.Name == "" {
		r.fail(e.Place, "names no asset: neither an instance id nor a name")
		return
	}
	key := e.Key()
	if first, twice := r.seen[key]; twice {
		r.fail(e.Place, "%s is already on %s", quote(strings.TrimPrefix(key, string(KindInstance)+"/")), first)
		return
	}
	r.seen[key] = e.Place
	r.list.Entries = append(r.list.Entries, e)
}

// take puts one named value into an entry.
func (r *listReader) take(e *Entry, field, value string) {
	value = strings.TrimSpace(value)
	if value == "" || value == "-" {
		return
	}
	if len(value) > maxValue {
		r.fail(e.Place, "%s has %d bytes, at most %d", field, len(value), maxValue)
		return
	}
	if formula(value) {
		r.fail(e.Place, "%s %s looks like a formula", field, quote(value))
		return
	}
	if err := checkText(field, value); err != nil {
		r.fail(e.Place, "%v", err)
		return
	}
	r.put(e, field, value)
}

func (r *listReader) put(e *Entry, field, value string) {
	switch field {
	case "instance_id":
		e.InstanceID = value
	case "name":
		e.Name = value
	case "account":
		e.Account = value
	case "region":
		e.Region = value
	case "instance_type":
		e.InstanceType = value
	case "ou":
		e.OU = value
	case "state":
		e.State = states[fold(value)]
	default:
		if key, ok := strings.CutPrefix(field, "tag:"); ok {
			r.tag(e, key, value)
			return
		}
		w, err := Normal(Attribute(field), value)
		if err != nil {
			r.fail(e.Place, "%v", err)
			return
		}
		if w == "" {
			return
		}
		if e.Set == nil {
			e.Set = map[Attribute]string{}
		}
		e.Set[Attribute(field)] = w
	}
}

// tag keeps a tag. Tags are free text, but no longer than a cloud lets them be.
func (r *listReader) tag(e *Entry, key, value string) {
	const maxKey, maxTag = 128, 256
	switch {
	case key == "" || len(key) > 4*maxKey || len(value) > 4*maxTag:
		r.fail(e.Place, "tag %s has no name, or is longer than a tag can be", quote(key))
	case len(e.Tags) >= maxTags:
		r.fail(e.Place, "more than %d tags", maxTags)
	default:
		if e.Tags == nil {
			e.Tags = map[string]string{}
		}
		if _, twice := e.Tags[key]; twice {
			r.fail(e.Place, "tag %s is stated twice", quote(key))
			return
		}
		e.Tags[key] = value
	}
}

// states are the words lists use for what is gone, or not running, folded.
// Others leave the asset expected.
var states = map[string]State{
	"running": Running, "online": Running, "active": Running,
	"stopped": Stopped, "stopping": Stopped,
	"terminated": Terminated, "shuttingdown": Terminated, "retired": Terminated, "decommissioned": Terminated,
	"disposed": Terminated, "deleted": Terminated, "resourcedeleted": Terminated,
}

// formula tells what a spreadsheet would run from what only begins like it.
func formula(s string) bool {
	switch s[0] {
	case '=':
		return true
	case '+', '-', '@':
		return strings.ContainsAny(s, "(|!")
	default:
		return false
	}
}
