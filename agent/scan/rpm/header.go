package rpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/patchproof/patchproof/schema"
)

// Tags an inventory needs: rpm's rpmtag.h.
const (
	tagName            = 1000
	tagVersion         = 1001
	tagRelease         = 1002
	tagEpoch           = 1003
	tagInstallTime     = 1008
	tagVendor          = 1011
	tagArch            = 1022
	tagSourceRPM       = 1044
	tagModularityLabel = 5096
)

// Types of a tag's value.
const (
	typeInt32  = 4
	typeString = 6
	typeI18N   = 9
)

const (
	preambleSize = 8
	entrySize    = 16
)

// errNotPackage is a header that states an imported key.
var errNotPackage = errors.New("not a package")

// parseHeader reads the package an rpm header describes. The package's name is
// set whenever it could be read, also with an error.
//
// A header is two counts, an index of (tag, type, offset, count), and the data
// the offsets point into. rpm adds what it learns at installation behind the
// signed entries, and the last entry of a tag is the one that holds.
func parseHeader(blob []byte) (schema.Package, error) {
	h, err := newHeader(blob)
	if err != nil {
		return schema.Package{}, err
	}
	p := schema.Package{Format: schema.FormatRPM, Status: schema.StatusInstalled}
	if p.Name, err = h.text(tagName); err != nil {
		return schema.Package{}, err
	}
	if p.Name == "gpg-pubkey" {
		return p, errNotPackage
	}
	if err := h.fill(&p); err != nil {
		return p, err
	}
	return p, checkPackage(&p)
}

// header is a parsed index: for each tag we use the place of its value.
type header struct {
	data  []byte
	index map[int32]entry
}

type entry struct {
	kind   uint32
	offset int32
	count  uint32
}

func newHeader(blob []byte) (*header, error) {
	if len(blob) < preambleSize {
		return nil, fmt.Errorf("%d bytes are no header", len(blob))
	}
	entries, size := int64(binary.BigEndian.Uint32(blob)), int64(binary.BigEndian.Uint32(blob[4:]))
	if want := preambleSize + entries*entrySize + size; want != int64(len(blob)) {
		return nil, fmt.Errorf("%d bytes, want %d for %d entries and %d bytes of data", len(blob), want, entries, size)
	}
	index, data := blob[preambleSize:preambleSize+entries*entrySize], blob[preambleSize+entries*entrySize:]
	h := &header{data: data, index: make(map[int32]entry, 16)}
	for ; len(index) > 0; index = index[entrySize:] {
		tag := int32(binary.BigEndian.Uint32(index))
		if !used(tag) {
			continue
		}
		e := entry{
			kind:   binary.BigEndian.Uint32(index[4:]),
			offset: int32(binary.BigEndian.Uint32(index[8:])),
			count:  binary.BigEndian.Uint32(index[12:]),
		}
		if e.offset < 0 || int64(e.offset) >= int64(len(data)) {
			return nil, fmt.Errorf("tag %d points outside the header", tag)
		}
		h.index[tag] = e
	}
	return h, nil
}

func used(tag int32) bool {
	switch tag {
	case tagName, tagVersion, tagRelease, tagEpoch, tagInstallTime, tagVendor, tagArch, tagSourceRPM, tagModularityLabel,
		tagDirIndexes, tagBaseNames, tagDirNames:
		return true
	}
	return false
}

// fill sets everything but the name.
func (h *header) fill(p *schema.Package) error {
	var source string
	for _, f := range []struct {
		tag int32
		dst *string
	}{
		{tagVersion, &p.Version},
		{tagRelease, &p.Release},
		{tagArch, &p.Arch},
		{tagVendor, &p.Vendor},
		{tagModularityLabel, &p.Module},
		{tagSourceRPM, &source},
	} {
		s, err := h.text(f.tag)
		if err != nil {
			return err
		}
		*f.dst = s
	}
	epoch, err := h.number(tagEpoch)
	if err != nil {
		return err
	}
	installed, err := h.number(tagInstallTime)
	if err != nil {
		return err
	}
	p.Epoch, p.InstalledAt = int(epoch), int64(installed)
	return setSource(p, source)
}

// text returns a string value, empty when the tag is not there.
func (h *header) text(tag int32) (string, error) {
	e, ok := h.index[tag]
	if !ok {
		return "", nil
	}
	if (e.kind != typeString && e.kind != typeI18N) || e.count == 0 {
		return "", fmt.Errorf("tag %d of type %d, want a string", tag, e.kind)
	}
	value, _, ended := bytes.Cut(h.data[e.offset:], []byte{0})
	if !ended {
		return "", fmt.Errorf("tag %d has no end", tag)
	}
	if string(value) == "(none)" {
		return "", nil
	}
	return string(value), nil
}

// number returns a 32-bit value, 0 when the tag is not there. rpm keeps them
// without sign.
func (h *header) number(tag int32) (uint32, error) {
	e, ok := h.index[tag]
	if !ok {
		return 0, nil
	}
	if e.kind != typeInt32 || e.count == 0 || len(h.data)-int(e.offset) < 4 {
		return 0, fmt.Errorf("tag %d of type %d, want a number", tag, e.kind)
	}
	return binary.BigEndian.Uint32(h.data[e.offset:]), nil
}

// setSource names the source package; one that does not say where it came from
// is taken as its own source.
func setSource(p *schema.Package, file string) error {
	p.Source, p.SourceVersion = p.Name, p.EVR()
	if file == "" {
		return nil
	}
	name, version, ok := sourceOf(file)
	if !ok {
		return fmt.Errorf("source %.80q: want NAME-VERSION-RELEASE.src.rpm", file)
	}
	p.Source, p.SourceVersion = name, version
	return nil
}

// checkPackage refuses what no package can be compared by.
func checkPackage(p *schema.Package) error {
	switch {
	case p.Name == "":
		return errors.New("no name")
	case p.Version == "" || p.Release == "":
		return errors.New("no version or no release")
	case p.Epoch > schema.MaxEpoch:
		return fmt.Errorf("epoch %d, at most %d", p.Epoch, schema.MaxEpoch)
	}
	for _, s := range []string{p.Name, p.Version, p.Release, p.Arch, p.Source, p.SourceVersion, p.Module, p.Vendor} {
		if len(s) > schema.MaxField {
			return fmt.Errorf("a field of %d bytes, at most %d", len(s), schema.MaxField)
		}
	}
	for _, s := range []string{p.Name, p.Version, p.Release, p.Arch, p.Source, p.SourceVersion, p.Module} {
		if i := strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }); i >= 0 {
			return fmt.Errorf("%.80q: character %q", s, s[i])
		}
	}
	return nil
}
