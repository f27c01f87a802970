package ingest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
)

// maxName bounds an asset's name and each free-text attribute; a host name has
// at most 253 bytes.
const maxName = 253

func checkName(s string) error {
	if s == "" {
		return fmt.Errorf("%w: a host needs a name", ErrInvalid)
	}
	return checkWords("name", s)
}

// checkWords keeps what people type, or hosts call themselves, fit for a
// terminal and a table.
func checkWords(field, s string) error {
	switch {
	case len(s) > maxName:
		return fmt.Errorf("%w: %s has %d bytes, at most %d", ErrInvalid, field, len(s), maxName)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%w: %s %q holds characters that cannot be printed", ErrInvalid, field, s)
	case strings.TrimSpace(s) != s:
		return fmt.Errorf("%w: %s %q begins or ends with a space", ErrInvalid, field, s)
	}
	return nil
}

// checkAttributes reports everything wrong with a at once.
func checkAttributes(a store.Attributes) error {
	var errs []error
	for _, f := range []struct{ field, value string }{
		{"account", a.Account},
		{"ou", a.OU},
		{"region", a.Region},
		{"service", a.Service},
		{"owner", a.Owner},
	} {
		errs = append(errs, checkWords(f.field, f.value))
	}
	return errors.Join(append(errs,
		oneOf("class", a.Class, sla.Compute, sla.Appliance, sla.Image, sla.Workload, sla.Golden, sla.Code),
		oneOf("exposure", a.Exposure, sla.Internet, sla.Internal, sla.UnknownExposure),
		oneOf("environment", a.Environment, sla.Production, sla.NonProduction, sla.EndUser, sla.UnknownEnvironment),
		oneOf("data sensitivity", a.DataSensitivity, "", "high", "medium", "low"),
	)...)
}

func oneOf[T ~string](field string, got T, want ...T) error {
	if slices.Contains(want, got) {
		return nil
	}
	names := make([]string, len(want))
	for i, w := range want {
		names[i] = string(w)
	}
	return fmt.Errorf("%w: %s %q: want %s", ErrInvalid, field, got, strings.Join(names, ", "))
}

// withUnknowns fills what was not said with the strictest reading.
func withUnknowns(a store.Attributes) store.Attributes {
	a.Class = cmp.Or(a.Class, sla.Compute)
	a.Exposure = cmp.Or(a.Exposure, sla.UnknownExposure)
	a.Environment = cmp.Or(a.Environment, sla.UnknownEnvironment)
	return a
}
