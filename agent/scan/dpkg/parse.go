package dpkg

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/patchproof/patchproof/schema"
)

// bufferSize holds every line of a real status file; longer ones are read in
// pieces.
const bufferSize = 32 << 10

// parser reads stanzas from one file, line by line, keeping only the fields the
// inventory uses.
type parser struct {
	in    *bufio.Reader
	name  string
	kind  fileKind
	sink  *reader
	words map[string]string // repeated short values, kept once

	line    int
	read    int
	long    []byte // a line longer than the buffer
	started int    // line the stanza began on, 0 between stanzas
	fields  fields
	inUsed  bool // the last field seen is one we use
	bad     error
}

// fileKind is how a file's stanzas end.
type fileKind uint8

const (
	// database: every stanza ends with an empty line.
	database fileKind = iota
	// update: one stanza; dpkg renames the file into place when it is whole.
	update
	// image: a status.d file: one package, no Status field, any ending.
	image
)

// fields are the values of one stanza; seen tells an empty value from none.
type fields struct {
	name, status, arch, version, source, origin, multiArch string
	seen                                                   uint8
}

const (
	seenName = 1 << iota
	seenStatus
	seenArch
	seenVersion
	seenSource
	seenOrigin
	seenMultiArch
)

func newParser(r io.Reader, name string, kind fileKind, sink *reader) *parser {
	return &parser{
		in: bufio.NewReaderSize(r, bufferSize), name: name, kind: kind, sink: sink,
		words: make(map[string]string, 16),
	}
}

// run reads to the end. Stanzas that cannot be read become gaps; the error is
// about the file.
func (p *parser) run() error {
	for {
		line, err := p.next()
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read %s: %w", p.name, err)
		}
		if errors.Is(err, io.EOF) {
			return p.end(line)
		}
		if err := p.take(line); err != nil {
			return fmt.Errorf("read %s: %w", p.name, err)
		}
	}
}

// next returns a line without its newline. At the end it returns what stands
// after the last newline, with io.EOF.
func (p *parser) next() ([]byte, error) {
	p.line++
	line, err := p.in.ReadSlice('\n')
	p.read += len(line)
	if errors.Is(err, bufio.ErrBufferFull) {
		line, err = p.nextLong(line)
	}
	if p.read > p.sink.limits.File {
		return nil, errTooLarge
	}
	return bytes.TrimSuffix(line, []byte("\n")), err
}

// nextLong gathers a line longer than the buffer, up to the limit of a line;
// the rest of it is read past, and the stanza is bad.
func (p *parser) nextLong(head []byte) ([]byte, error) {
	p.long = append(p.long[:0], head...)
	for {
		piece, err := p.in.ReadSlice('\n')
		p.read += len(piece)
		if p.read > p.sink.limits.File {
			return nil, errTooLarge
		}
		if len(p.long)+len(piece) <= p.sink.limits.Line {
			p.long = append(p.long, piece...)
		} else {
			p.fail(fmt.Errorf("line %d: longer than %d bytes", p.line, p.sink.limits.Line))
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return p.long, err
		}
	}
}

// take reads one line.
func (p *parser) take(line []byte) error {
	if len(trimSpace(line)) == 0 {
		return p.flush()
	}
	if p.started == 0 {
		p.started = p.line
	}
	switch line[0] {
	case ' ', '\t':
		if p.inUsed {
			// None of the fields we use folds; more of a version or a name
			// on the next line is not something to guess at.
			p.fail(fmt.Errorf("line %d: a second line in a field of one line", p.line))
		}
	case '#': // deb-control(5) allows comments in source control files only; dpkg pads updates with them
	default:
		p.field(line)
	}
	return nil
}

// field reads a "Name: value" line.
func (p *parser) field(line []byte) {
	p.inUsed = false
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		p.fail(fmt.Errorf("line %d: no field name", p.line))
		return
	}
	f := &p.fields
	dst, bit := f.lookup(trimSpace(line[:colon]))
	if dst == nil {
		return
	}
	p.inUsed = true
	if f.seen&bit != 0 {
		p.fail(fmt.Errorf("line %d: field %s a second time", p.line, line[:colon]))
		return
	}
	f.seen |= bit
	value := trimSpace(line[colon+1:])
	if len(value) > schema.MaxField {
		p.fail(fmt.Errorf("line %d: field %s of %d bytes", p.line, line[:colon], len(value)))
		return
	}
	if bit&(seenStatus|seenArch|seenOrigin|seenMultiArch) != 0 {
		*dst = p.word(value)
	} else {
		*dst = string(value)
	}
}

// lookup returns where a field's value goes, nil for fields nobody uses. dpkg
// compares field names without case.
func (f *fields) lookup(name []byte) (*string, uint8) {
	switch len(name) {
	case len("Status"): // and Source, Origin
		switch {
		case fold(name, "status"):
			return &f.status, seenStatus
		case fold(name, "source"):
			return &f.source, seenSource
		case fold(name, "origin"):
			return &f.origin, seenOrigin
		}
	case len("Package"): // and Version
		switch {
		case fold(name, "package"):
			return &f.name, seenName
		case fold(name, "version"):
			return &f.version, seenVersion
		}
	case len("Multi-Arch"):
		if fold(name, "multi-arch") {
			return &f.multiArch, seenMultiArch
		}
	case len("Architecture"):
		if fold(name, "architecture") {
			return &f.arch, seenArch
		}
	}
	return nil, 0
}

// fold reports whether b is the lower-case word, in any case.
func fold(b []byte, lower string) bool {
	for i := range len(lower) {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// word returns b as a string, the same one for the same bytes.
func (p *parser) word(b []byte) string {
	if s, ok := p.words[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(p.words) < 1024 {
		p.words[s] = s
	}
	return s
}

// fail marks the stanza as one that cannot be listed, for its first reason.
func (p *parser) fail(err error) {
	if p.bad == nil {
		p.bad = err
	}
}

// flush ends a stanza.
func (p *parser) flush() error {
	if p.started == 0 {
		return nil
	}
	started, f, bad := p.started, p.fields, p.bad
	p.started, p.fields, p.inUsed, p.bad = 0, fields{}, false, nil
	if f.name != "" {
		p.sink.known[f.name] = struct{}{} // mentioned, even when it cannot be listed
	}
	rec, err := f.record(p.kind == image)
	if bad != nil {
		err = bad
	}
	if err != nil {
		p.sink.gap(schema.GapCorrupt, p.name, fmt.Sprintf("stanza at line %d (package %.60q): %v", started, f.name, err))
		return nil
	}
	return p.sink.add(rec)
}

// end handles what stands after the last newline. dpkg ends every stanza with
// an empty line, so a status file that stops elsewhere was cut, and with it
// everything that followed.
func (p *parser) end(rest []byte) error {
	if p.kind == update && len(rest) == 0 {
		return p.flush()
	}
	if p.kind == image {
		if len(rest) > 0 {
			if err := p.take(rest); err != nil {
				return fmt.Errorf("read %s: %w", p.name, err)
			}
		}
		if len(rest) > 0 && p.inUsed {
			// The last line may be half a version.
			return fmt.Errorf("read %s: %w", p.name, errCut)
		}
		if p.started == 0 && p.line == 1 {
			return fmt.Errorf("read %s: %w", p.name, errCut)
		}
		return p.flush()
	}
	if p.started != 0 || len(rest) > 0 {
		// What was read of the stanza may be wrong: a cut line, or fields
		// that are missing.
		if p.fields.name != "" {
			p.sink.known[p.fields.name] = struct{}{}
		}
		return fmt.Errorf("read %s: %w (package %.60q)", p.name, errCut, p.fields.name)
	}
	return nil
}

// record makes a package of a stanza's fields.
func (f *fields) record(single bool) (record, error) {
	if f.name == "" {
		return record{}, errors.New("no Package field")
	}
	status, err := f.state(single)
	if err != nil {
		return record{}, err
	}
	rec := record{multiArch: strings.EqualFold(f.multiArch, "same")}
	rec.pkg = schema.Package{Format: schema.FormatDeb, Name: f.name, Arch: f.arch, Status: status, Vendor: f.origin}
	if status == "not-installed" || status == "config-files" {
		return rec, nil
	}
	rec.installed = true
	// A first unpack that broke off may leave no version: listed without one,
	// it compares as undetermined.
	if f.version != "" || status != schema.StatusHalfInstalled {
		if err := parseVersion(f.version, &rec.pkg); err != nil {
			return record{}, err
		}
	}
	return rec, f.setSource(&rec.pkg)
}

// state returns the third word of the Status field.
func (f *fields) state(single bool) (string, error) {
	if single && f.seen&seenStatus == 0 {
		return schema.StatusInstalled, nil
	}
	words := strings.Fields(f.status)
	if len(words) != 3 {
		return "", fmt.Errorf("status %.60q: want three words", f.status)
	}
	switch state := words[2]; state {
	case schema.StatusInstalled, schema.StatusUnpacked, schema.StatusHalfConfigured,
		schema.StatusHalfInstalled, schema.StatusTriggersAwaited, schema.StatusTriggersPending,
		"not-installed", "config-files":
		return state, nil
	default:
		return "", fmt.Errorf("status %.60q: unknown state", f.status)
	}
}

// setSource reads "Source: name (version)". Without one, or without a version
// in it, the binary package speaks for its source.
func (f *fields) setSource(p *schema.Package) error {
	p.Source, p.SourceVersion = p.Name, p.EVR()
	if f.source == "" {
		return nil
	}
	name, rest, paren := strings.Cut(f.source, "(")
	p.Source = strings.TrimRight(name, " \t")
	if p.Source == "" || strings.ContainsAny(p.Source, " \t)") {
		return fmt.Errorf("source %.60q: want a name, or a name and a version in parentheses", f.source)
	}
	if !paren {
		return nil
	}
	version, tail, closed := strings.Cut(rest, ")")
	if version = strings.TrimSpace(version); !closed || tail != "" || version == "" {
		return fmt.Errorf("source %.60q: want a name, or a name and a version in parentheses", f.source)
	}
	var check schema.Package
	if err := parseVersion(version, &check); err != nil {
		return fmt.Errorf("source %.60q: %w", f.source, err)
	}
	p.SourceVersion = version
	return nil
}

// parseVersion splits [epoch:]upstream[-revision] into p.
func parseVersion(v string, p *schema.Package) error {
	if v == "" {
		return errors.New("no version")
	}
	if i := strings.IndexFunc(v, notVersion); i >= 0 {
		return fmt.Errorf("version %.60q: character %q", v, v[i])
	}
	rest := v
	if epoch, after, ok := strings.Cut(v, ":"); ok {
		n, err := strconv.ParseUint(epoch, 10, 31)
		if err != nil {
			return fmt.Errorf("version %.60q: epoch is not a number", v)
		}
		p.Epoch, rest = int(n), after
	}
	p.Version, p.Release = rest, ""
	if i := strings.LastIndexByte(rest, '-'); i >= 0 {
		p.Version, p.Release = rest[:i], rest[i+1:]
		if p.Release == "" {
			return fmt.Errorf("version %.60q: empty revision", v)
		}
	}
	if p.Version == "" {
		return fmt.Errorf("version %.60q: nothing but an epoch or a revision", v)
	}
	return nil
}

// notVersion holds what dpkg refuses in a version: deb-version(7).
func notVersion(c rune) bool {
	switch {
	case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		return false
	}
	return !strings.ContainsRune(".+-~:", c)
}

// trimSpace trims what C's isspace calls white space.
func trimSpace(b []byte) []byte {
	for len(b) > 0 && space(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && space(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func space(c byte) bool { return c == ' ' || ('\t' <= c && c <= '\r') }
