package osv

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// record is what we read of an OSV record; everything else is checked to be
// JSON and passed over.
type record struct {
	ID         string      `json:"id"`
	Summary    string      `json:"summary"`
	Published  string      `json:"published"`
	Modified   string      `json:"modified"`
	Withdrawn  string      `json:"withdrawn"`
	Aliases    []string    `json:"aliases"`
	Related    []string    `json:"related"`
	Upstream   []string    `json:"upstream"`
	Severity   []severity  `json:"severity"`
	References []reference `json:"references"`
	Affected   []affected  `json:"affected"`
	Specific   struct {
		Patchproof struct {
			// IssuedKind is our own word in a restated record: where Published
			// comes from when it is not the publisher's advisory.
			IssuedKind string `json:"issued_kind"`
		} `json:"patchproof"`
	} `json:"database_specific"`
}

type severity struct {
	Type  string `json:"type"`
	Score string `json:"score"`
}

type reference struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

type affected struct {
	Package struct {
		Ecosystem string `json:"ecosystem"`
		Name      string `json:"name"`
	} `json:"package"`
	Ranges   []eventRange `json:"ranges"`
	Versions []string     `json:"versions"`
	Severity []severity   `json:"severity"`
	Specific struct {
		Urgency        string `json:"urgency"`
		UbuntuPriority string `json:"ubuntu_priority"`
		// ModuleNameRegex is set on rows that are kernel live patches.
		ModuleNameRegex string `json:"module_name_regex"`
		// ModuleVersion is the version of the module that fixes, where it is not the
		// number of the notice.
		ModuleVersion string `json:"module_version"`
	} `json:"ecosystem_specific"`
}

type eventRange struct {
	Type   string  `json:"type"`
	Events []event `json:"events"`
}

type event struct {
	Introduced   string `json:"introduced"`
	Fixed        string `json:"fixed"`
	LastAffected string `json:"last_affected"`
	Limit        string `json:"limit"`
}

var (
	errNoID       = errors.New("not an OSV record: it has no id")
	errNoAffected = errors.New("not an OSV record of packages: it has no affected list")
)

// decode reads a record; errors name the byte.
func decode(doc []byte, r *record) error {
	*r = record{}
	if err := json.Unmarshal(doc, r); err != nil {
		var syntax *json.SyntaxError
		var typ *json.UnmarshalTypeError
		switch {
		case errors.As(err, &syntax):
			return fmt.Errorf("broken JSON at byte %d: %w", syntax.Offset, err)
		case errors.As(err, &typ):
			return fmt.Errorf("not an OSV record at byte %d: %s", typ.Offset, wrongType(typ))
		}
		return fmt.Errorf("not an OSV record: %w", err)
	}
	switch {
	case r.ID == "":
		return errNoID
	case !plain(r.ID, 256):
		return fmt.Errorf("not an OSV record: the id %s is not printable text without spaces", strconv.Quote(clip(r.ID, 64)))
	case len(r.Affected) == 0 && r.Withdrawn == "":
		return fmt.Errorf("%s: %w", r.ID, errNoAffected)
	}
	return nil
}

// wrongType says what is where in JSON's words instead of Go's.
func wrongType(err *json.UnmarshalTypeError) string {
	what := strings.Replace(err.Value, "array", "list", 1)
	if err.Field == "" {
		return "the document is a " + what
	}
	return strconv.Quote(clip(err.Field, 64)) + " is a " + what
}

// instant reads an RFC 3339 time, zero when there is none.
func instant(field, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s %s is not an RFC 3339 time", field, strconv.Quote(clip(s, 64)))
	}
	if t.Year() < 1980 || t.Year() > 9999 {
		return time.Time{}, fmt.Errorf("%s %s is not a date of this era", field, s)
	}
	return t.UTC().Truncate(time.Microsecond), nil
}

// plain reports whether s is printable ASCII without spaces, as ids, package
// names and versions are.
func plain(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// printable makes text from outside fit for a message and a terminal.
func printable(s string) string {
	q := strconv.Quote(clip(s, 64))
	return q[1 : len(q)-1]
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
