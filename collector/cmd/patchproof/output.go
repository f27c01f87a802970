package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// outputFlag adds -o with the formats a command knows; the first is the default.
func outputFlag(cmd *cobra.Command, formats ...string) *string {
	out := new(string)
	cmd.Flags().StringVarP(out, "output", "o", formats[0], "output format: "+strings.Join(formats, ", "))
	prev := cmd.PreRunE
	cmd.PreRunE = func(c *cobra.Command, args []string) error {
		for _, f := range formats {
			if *out == f {
				if prev != nil {
					return prev(c, args)
				}
				return nil
			}
		}
		return usage(fmt.Errorf("output format %q: want one of %s", *out, strings.Join(formats, ", ")))
	}
	return out
}

// printJSON writes an answer as it is promised: two spaces, no HTML escaping.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// clean shows what a terminal must not act on: control, bidirectional and
// other invisible characters, and bytes that are no text, become \u escapes.
func clean(s string) string {
	safe := true
	for _, r := range s {
		if hidden(r) {
			safe = false
			break
		}
	}
	if safe && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case hidden(r) && r > 0xFFFF:
			fmt.Fprintf(&b, `\U%08x`, r)
		case hidden(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// hidden reports runes that change how other text is shown: controls, format
// characters (bidi overrides among them), line and paragraph separators.
func hidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co)
}
