package schema

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Columns of the package text, in order.
const (
	colFormat = iota
	colName
	colEpoch
	colVersion
	colRelease
	colArch
	colSource
	colSourceVersion
	colVendor
	colModule
	colInstalledAt
	colStatus
	columns
)

var columnNames = [columns]string{
	"format", "name", "epoch", "version", "release", "arch", "source",
	"source_version", "vendor", "module", "installed_at", "status",
}

// EncodePackages returns the canonical text of a package set: one package a
// line, tab-separated columns, lines sorted bytewise as `LC_ALL=C sort` does,
// each ended by a newline. It is a set: packages equal in every column are
// written once. Bytes a line cannot hold are escaped as \xhh, see appendField.
func EncodePackages(ps []Package) (string, error) {
	if len(ps) > MaxPackages {
		return "", fmt.Errorf("encode packages: %d packages, at most %d", len(ps), MaxPackages)
	}
	var buf []byte
	ends := make([]int, len(ps))
	for i := range ps {
		if err := checkPackage(&ps[i]); err != nil {
			return "", fmt.Errorf("encode package %d (%.80q): %w", i, ps[i].Name, err)
		}
		buf = appendPackage(buf, &ps[i])
		ends[i] = len(buf)
	}
	all := string(buf)
	sorted := make([]string, len(ps))
	for i, start := 0, 0; i < len(ps); i++ {
		sorted[i] = all[start:ends[i]]
		start = ends[i]
	}
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	text := joinLines(sorted, len(all)+len(ps))
	if len(text) > MaxPart {
		return "", fmt.Errorf("encode packages: %d bytes, at most %d", len(text), MaxPart)
	}
	return text, nil
}

func joinLines(sorted []string, size int) string {
	var b strings.Builder
	b.Grow(size)
	for _, line := range sorted {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.String()
}

func appendPackage(b []byte, p *Package) []byte {
	b = appendField(b, string(p.Format))
	b = appendField(append(b, '\t'), p.Name)
	b = strconv.AppendInt(append(b, '\t'), int64(p.Epoch), 10)
	b = appendField(append(b, '\t'), p.Version)
	b = appendField(append(b, '\t'), p.Release)
	b = appendField(append(b, '\t'), p.Arch)
	b = appendField(append(b, '\t'), p.Source)
	b = appendField(append(b, '\t'), p.SourceVersion)
	b = appendField(append(b, '\t'), p.Vendor)
	b = appendField(append(b, '\t'), p.Module)
	b = strconv.AppendInt(append(b, '\t'), p.InstalledAt, 10)
	return appendField(append(b, '\t'), p.Status)
}

const hexDigits = "0123456789abcdef"

// appendField appends s with every ASCII control character, every backslash
// and every byte that is not part of valid UTF-8 as \xhh. Package managers
// store bytes, not text: an old rpm's vendor may be Latin-1, and such a
// package must not hide the others.
func appendField(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r < 0x20 || r == 0x7f || r == '\\' || (r == utf8.RuneError && n == 1) {
			b = append(b, '\\', 'x', hexDigits[s[i]>>4], hexDigits[s[i]&15])
		} else {
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return b
}

// DecodePackages returns the packages of a canonical text, in its order. It
// refuses anything EncodePackages would not have written; the error is a
// *Refusal. Fields are substrings of text.
func DecodePackages(text string) ([]Package, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	ps := make([]Package, strings.Count(text, "\n"))
	i := 0
	err := scanPackages(text, func() *Package {
		i++
		return &ps[i-1]
	})
	if err != nil {
		return nil, err
	}
	return ps, nil
}

func checkPackages(text string) error {
	if err := checkText(text); err != nil {
		return err
	}
	var p Package
	return scanPackages(text, func() *Package { return &p })
}

// checkText checks what can be told of a text as a whole.
func checkText(text string) error {
	if len(text) > MaxPart {
		return Refuse(ReasonTooLarge, "package text: %d bytes, at most %d", len(text), MaxPart)
	}
	if !utf8.ValidString(text) {
		return Refuse(ReasonInvalidUTF8, "package text is not UTF-8")
	}
	if err := checkLastLine(text); err != nil {
		return Refuse(ReasonBodyNotCanonical, "package text: %w", err)
	}
	if n := strings.Count(text, "\n"); n > MaxPackages {
		return Refuse(ReasonTooLarge, "package text: %d packages, at most %d", n, MaxPackages)
	}
	return nil
}

// scanPackages decodes each line into the Package that next returns for it.
func scanPackages(text string, next func() *Package) error {
	escapes := strings.IndexByte(text, '\\') >= 0
	previous := ""
	for n, line := range lines(text) {
		if n > 1 && line <= previous {
			return Refuse(ReasonBodyNotCanonical, "package text line %d: not after the line before it", n)
		}
		previous = line
		if err := decodeLine(line, next(), escapes); err != nil {
			return Refuse(ReasonBodyNotCanonical, "package text line %d: %w", n, err)
		}
	}
	return nil
}

func decodeLine(line string, p *Package, escapes bool) error {
	fields, err := splitLine(line)
	if err != nil {
		return err
	}
	if escapes && strings.IndexByte(line, '\\') >= 0 {
		for i := range fields {
			if fields[i], err = unescape(fields[i]); err != nil {
				return fmt.Errorf("%s: %w", columnNames[i], err)
			}
		}
	}
	epoch, ok := decimal(fields[colEpoch], MaxEpoch)
	if !ok {
		return fmt.Errorf("epoch %.40q: want a decimal number up to %d", fields[colEpoch], MaxEpoch)
	}
	installedAt, ok := decimal(fields[colInstalledAt], maxUnix)
	if !ok {
		return fmt.Errorf("installed_at %.40q: want Unix seconds", fields[colInstalledAt])
	}
	*p = Package{
		Format: PackageFormat(fields[colFormat]), Name: fields[colName], Epoch: int(epoch),
		Version: fields[colVersion], Release: fields[colRelease], Arch: fields[colArch],
		Source: fields[colSource], SourceVersion: fields[colSourceVersion],
		Vendor: fields[colVendor], Module: fields[colModule],
		InstalledAt: installedAt, Status: fields[colStatus],
	}
	return checkPackage(p)
}

func splitLine(line string) (fields [columns]string, err error) {
	if c, bad := findControl(line, '\t'); bad {
		return fields, fmt.Errorf("control character %#02x: want it escaped as \\xhh", c)
	}
	rest, more := line, true
	for i := range fields {
		if !more {
			return fields, fmt.Errorf("%d columns, want %d", i, columns)
		}
		fields[i], rest, more = strings.Cut(rest, "\t")
	}
	if more {
		return fields, fmt.Errorf("more than %d columns", columns)
	}
	return fields, nil
}

// unescape undoes appendField, and refuses an escape appendField would not
// have written.
func unescape(s string) (string, error) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b = append(b, s[i])
			continue
		}
		if i+3 >= len(s) || s[i+1] != 'x' {
			return "", fmt.Errorf("backslash at byte %d: want \\xhh", i)
		}
		hi, lo := strings.IndexByte(hexDigits, s[i+2]), strings.IndexByte(hexDigits, s[i+3])
		if hi < 0 || lo < 0 {
			return "", fmt.Errorf("backslash at byte %d: want \\xhh in lowercase hex", i)
		}
		b = append(b, byte(hi<<4|lo))
		i += 3
	}
	raw := string(b)
	if string(appendField(nil, raw)) != s {
		return "", errors.New("escapes a byte that needs no escape")
	}
	return raw, nil
}

// decimal parses a number in its one spelling: digits, no leading zero.
func decimal(s string, most int64) (int64, bool) {
	if s == "" || len(s) > 19 || (s[0] == '0' && len(s) > 1) {
		return 0, false
	}
	var n uint64
	for i := range len(s) {
		c := s[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + uint64(c) // 19 digits do not overflow
	}
	if n > uint64(most) {
		return 0, false
	}
	return int64(n), true
}

// checkPackage holds what a package must have, encoding and decoding.
func checkPackage(p *Package) error {
	switch p.Format {
	case FormatDeb, FormatRPM:
	default:
		return fmt.Errorf("format %.40q: want deb or rpm", p.Format)
	}
	if !knownStatus(p.Status) {
		return fmt.Errorf("status %.40q: not a status of an installed package", p.Status)
	}
	if p.Name == "" || p.Source == "" {
		return errors.New("name and source must not be empty")
	}
	if p.Epoch < 0 || p.Epoch > MaxEpoch {
		return fmt.Errorf("epoch %d: want 0 to %d", p.Epoch, MaxEpoch)
	}
	if p.InstalledAt < 0 || p.InstalledAt > maxUnix {
		return fmt.Errorf("installed_at %d: want Unix seconds", p.InstalledAt)
	}
	longest := max(len(p.Name), len(p.Version), len(p.Release), len(p.Arch), len(p.Source),
		len(p.SourceVersion), len(p.Vendor), len(p.Module))
	if longest > MaxField {
		return fmt.Errorf("a field of %d bytes, at most %d", longest, MaxField)
	}
	return nil
}

func knownStatus(s string) bool {
	switch s {
	case StatusInstalled, StatusUnpacked, StatusHalfConfigured, StatusHalfInstalled,
		StatusTriggersAwaited, StatusTriggersPending:
		return true
	}
	return false
}
