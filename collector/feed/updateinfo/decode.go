package updateinfo

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/feed/unpack"
)

// Bounds of one document.
const (
	maxUpdates  = 200_000
	maxPackages = 20_000 // of one update
	maxCVEs     = 20_000 // of one update
	maxToken    = 4 << 20
	maxDepth    = 16
)

// update is what we read of an <update>.
type update struct {
	ID, Title, Severity string
	Issued, Updated     string
	CVEs                []string
	Packages            []pkg
}

type pkg struct {
	Name, Epoch, Version, Release, Arch string
}

// decode calls add for every update in turn.
func decode(text io.Reader, add func(*update) error) error {
	bound := &tokenBound{r: text}
	d := xml.NewDecoder(bound)
	w := walker{add: add}
	for {
		bound.n = 0
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = w.token(tok)
		}
		if err != nil {
			return fmt.Errorf("at byte %d: %w", d.InputOffset(), err)
		}
	}
	if !w.root {
		return errors.New("not an updateinfo document: there is no <updates>")
	}
	return nil
}

// walker follows the path of elements; only known paths are read.
type walker struct {
	add     func(*update) error
	path    []string
	root    bool
	updates int
	now     update
	text    *string
}

func (w *walker) token(tok xml.Token) error {
	switch t := tok.(type) {
	case xml.Directive:
		return errors.New("a DOCTYPE is not allowed here")
	case xml.CharData:
		if w.text != nil {
			if len(*w.text)+len(t) > 4096 {
				return fmt.Errorf("<%s> is longer than 4096 bytes", w.path[len(w.path)-1])
			}
			*w.text += string(t)
		}
	case xml.StartElement:
		if len(w.path) == maxDepth {
			return &unpack.LimitError{What: "the depth of elements", Limit: maxDepth}
		}
		w.path = append(w.path, t.Name.Local)
		return w.start(t)
	case xml.EndElement:
		w.path = w.path[:len(w.path)-1]
		w.text = nil
		if len(w.path) == 1 && t.Name.Local == "update" {
			return w.end()
		}
	}
	return nil
}

func (w *walker) start(t xml.StartElement) error {
	w.text = nil
	switch path := strings.Join(w.path, "/"); path {
	case "updates":
		w.root = true
	case "updates/update":
		w.now = update{Packages: w.now.Packages[:0], CVEs: w.now.CVEs[:0]}
		if w.updates++; w.updates > maxUpdates {
			return &unpack.LimitError{What: "the number of updates", Limit: maxUpdates}
		}
	case "updates/update/id":
		w.text = &w.now.ID
	case "updates/update/title":
		w.text = &w.now.Title
	case "updates/update/severity":
		w.text = &w.now.Severity
	case "updates/update/issued":
		w.now.Issued = attr(t, "date")
	case "updates/update/updated":
		w.now.Updated = attr(t, "date")
	case "updates/update/references/reference":
		return w.reference(t)
	case "updates/update/pkglist/collection/package":
		return w.pkg(t)
	default:
		if len(w.path) == 1 {
			return fmt.Errorf("not an updateinfo document: it begins with <%s>", strconv.QuoteToASCII(clip(t.Name.Local, 32)))
		}
	}
	return nil
}

func (w *walker) reference(t xml.StartElement) error {
	id := attr(t, "id")
	if !advisory.IsCVE(id) {
		if attr(t, "type") == "cve" {
			return fmt.Errorf("%s: reference %s of type cve is not a CVE id", w.now.ID, quoted(id))
		}
		return nil
	}
	if len(w.now.CVEs) == maxCVEs {
		return &unpack.LimitError{What: "the number of CVEs of " + w.now.ID, Limit: maxCVEs}
	}
	w.now.CVEs = append(w.now.CVEs, id)
	return nil
}

func (w *walker) pkg(t xml.StartElement) error {
	if len(w.now.Packages) == maxPackages {
		return &unpack.LimitError{What: "the number of packages of " + w.now.ID, Limit: maxPackages}
	}
	w.now.Packages = append(w.now.Packages, pkg{
		Name:    attr(t, "name"),
		Epoch:   attr(t, "epoch"),
		Version: attr(t, "version"),
		Release: attr(t, "release"),
		Arch:    attr(t, "arch"),
	})
	return nil
}

func (w *walker) end() error {
	w.now.ID = strings.TrimSpace(w.now.ID)
	if w.now.ID == "" {
		return errors.New("an <update> without an <id>")
	}
	return w.add(&w.now)
}

func attr(t xml.StartElement, name string) string {
	for _, a := range t.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func (p *pkg) check() error {
	for _, f := range []struct{ what, value string }{
		{"name", p.Name}, {"version", p.Version}, {"release", p.Release}, {"arch", p.Arch},
	} {
		if !plain(f.value) {
			return fmt.Errorf("package %s: %s is %s", quoted(p.Name), f.what, quoted(f.value))
		}
	}
	if p.Epoch != "" {
		if n, err := strconv.ParseUint(p.Epoch, 10, 31); err != nil || strconv.FormatUint(n, 10) != p.Epoch {
			return fmt.Errorf("package %s: epoch is %s", quoted(p.Name), quoted(p.Epoch))
		}
	}
	return nil
}

// evr is [epoch:]version-release.
func (p *pkg) evr() string { return p.epochPrefix() + p.Version + "-" + p.Release }

func (p *pkg) epochPrefix() string {
	if p.Epoch == "" || p.Epoch == "0" {
		return ""
	}
	return p.Epoch + ":"
}

// plain reports printable ASCII without spaces.
func plain(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// tokenBound keeps one token from growing without end: a reader that gives up
// when too much was read since the last one.
type tokenBound struct {
	r io.Reader
	n int
}

func (b *tokenBound) Read(p []byte) (int, error) {
	if b.n > maxToken {
		return 0, &unpack.LimitError{What: "the size of one XML token in bytes", Limit: maxToken}
	}
	n, err := b.r.Read(p)
	b.n += n
	return n, err
}
