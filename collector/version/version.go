// Package version orders package versions as dpkg, rpm and apk order them.
//
// It is exact or it says so: a version is either ordered as the format's own
// tool orders it, or refused with [ErrUnparseable]. Nothing is guessed, so a
// caller can turn every refusal into "undetermined" and never into "not affected".
//
// Every order is computed through a sort key: [AppendKey] turns a version into
// bytes such that comparing the bytes compares the versions. An index keeps
// keys and compares them with one memory comparison; [Compare] makes both keys
// on the stack and allocates nothing for versions of ordinary length.
//
// Invariants:
//   - keys of one format are totally ordered by their bytes, and a key is never
//     a proper prefix of another, except that of an rpm version without a
//     release: it is a prefix of every key of that version with one;
//   - equal keys mean versions the tool calls equal (1.0 and 1.00, "1" and "1-0" for dpkg);
//   - versions of more than [MaxLength] bytes are refused.
//
// The rules are those of deb-version(7), rpm-version(7) (rpmvercmp with ~ and ^)
// and apk-tools' version.c.
package version

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/patchproof/patchproof/schema"
)

// FormatAPK is Alpine's package format. Agents do not report it; SBOMs do.
const FormatAPK schema.PackageFormat = "apk"

// MaxLength bounds the bytes of a version. The longest ones in the field have
// about a hundred.
const MaxLength = 512

// ErrUnparseable is wrapped by every refusal of a version.
var ErrUnparseable = errors.New("unparseable version")

// stackKey holds the key of any version of up to about a hundred bytes.
const stackKey = 192

// Compare orders two full versions of one format: -1, 0 or +1. The error wraps
// [ErrUnparseable] when either version cannot be parsed, or the format is unknown.
func Compare(f schema.PackageFormat, a, b string) (int, error) {
	var bufA, bufB [stackKey]byte
	ka, err := AppendKey(bufA[:0], f, a)
	if err != nil {
		return 0, err
	}
	kb, err := AppendKey(bufB[:0], f, b)
	if err != nil {
		return 0, err
	}
	return CompareKeys(ka, kb), nil
}

// CompareDeb orders two Debian versions [epoch:]upstream[-revision].
func CompareDeb(a, b string) (int, error) { return Compare(schema.FormatDeb, a, b) }

// CompareRPM orders two rpm versions [epoch:]version[-release]. A missing epoch
// is 0; a missing release compares equal to any.
func CompareRPM(a, b string) (int, error) { return Compare(schema.FormatRPM, a, b) }

// CompareAPK orders two Alpine versions.
func CompareAPK(a, b string) (int, error) { return Compare(FormatAPK, a, b) }

// AppendKey appends the sort key of a full version to dst. On an error dst is
// returned as it was.
func AppendKey(dst []byte, f schema.PackageFormat, v string) ([]byte, error) {
	if v == "" {
		return dst, refuse(f, v, "it is empty")
	}
	if len(v) > MaxLength {
		return dst, refuse(f, v[:32]+"...", "it is too long")
	}
	var (
		key []byte
		why string
	)
	switch f {
	case schema.FormatDeb:
		key, why = appendDeb(dst, v)
	case schema.FormatRPM:
		key, why = appendRPM(dst, v)
	case FormatAPK:
		key, why = appendAPK(dst, v)
	default:
		return dst, refuse(f, v, "the format is not known")
	}
	if why != "" {
		return dst, refuse(f, v, why)
	}
	return key, nil
}

// CompareKeys orders two keys of one format. A key that is a prefix of the
// other is equal to it: an rpm version without a release equals any release.
func CompareKeys(a, b []byte) int {
	n := min(len(a), len(b))
	return bytes.Compare(a[:n], b[:n])
}

func refuse(f schema.PackageFormat, v, why string) error {
	return fmt.Errorf("%w: %s %q: %s", ErrUnparseable, f, v, why)
}
