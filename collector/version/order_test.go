package version_test

import (
	"cmp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/version"
	"github.com/patchproof/patchproof/schema"
)

// anyVersion draws parseable versions of a format, dense in what makes order
// hard: few digits, few letters, many separators, tildes and carets.
func anyVersion(f schema.PackageFormat) *rapid.Generator[string] {
	switch f {
	case schema.FormatDeb:
		return rapid.StringMatching(`([0-2]:)?[0-2][-0-2aAzb.+~]{0,6}(-[0-2ab.+~]{1,4})?`).Filter(parses(f))
	case schema.FormatRPM:
		return rapid.StringMatching(`([0-2]:)?[0-2aAb._+~^]{1,7}-[0-2ab._+~^]{1,5}`).Filter(parses(f))
	default:
		return rapid.StringMatching(`[0-2]{1,2}(\.[0-2]{1,3}){0,3}[ab]?(_(alpha|rc|p|git)[0-2]?){0,2}(~[0-2a]{1,2})?(-r[0-2]{1,2})?`).Filter(parses(f))
	}
}

func parses(f schema.PackageFormat) func(string) bool {
	return func(v string) bool {
		_, err := version.AppendKey(nil, f, v)
		return err == nil
	}
}

func TestOrderIsTotal(t *testing.T) {
	for _, f := range formats {
		t.Run(string(f), func(t *testing.T) {
			gen := anyVersion(f)
			rapid.Check(t, func(t *rapid.T) {
				a, b, c := gen.Draw(t, "a"), gen.Draw(t, "b"), gen.Draw(t, "c")
				ab, bc, ac := compare(t, f, a, b), compare(t, f, b, c), compare(t, f, a, c)
				if got := compare(t, f, a, a); got != 0 {
					t.Errorf("compare(%q, %q): got %d, want 0", a, a, got)
				}
				if got := compare(t, f, b, a); got != -ab {
					t.Errorf("compare(%q, %q): got %d, want %d", b, a, got, -ab)
				}
				if ab <= 0 && bc <= 0 && ac > 0 || ab >= 0 && bc >= 0 && ac < 0 {
					t.Errorf("not transitive: %q %q %q: %d %d %d", a, b, c, ab, bc, ac)
				}
				if ab == 0 && bc != ac {
					t.Errorf("equals differ: %q = %q, against %q: %d and %d", a, b, c, ac, bc)
				}
			})
		})
	}
}

// TestDebFollowsVerrevcmp and TestRPMFollowsRPMVercmp hold the keys against a
// word by word reading of the C sources, on parts without epochs and hyphens.
func TestDebFollowsVerrevcmp(t *testing.T) {
	gen := rapid.StringMatching(`[0-2][-0-2aAzb.+~]{0,8}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Draw(t, "a")+"-1", gen.Draw(t, "b")+"-1"
		want := verrevcmp(strings.TrimSuffix(a, "-1"), strings.TrimSuffix(b, "-1"))
		if got := compare(t, schema.FormatDeb, a, b); got != want {
			t.Errorf("compare(%q, %q): got %d, want %d", a, b, got, want)
		}
	})
}

func TestRPMFollowsRPMVercmp(t *testing.T) {
	gen := rapid.StringMatching(`[0-2aAzb._+~^]{1,10}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
		if got, want := compare(t, schema.FormatRPM, a, b), rpmvercmp(a, b); got != want {
			t.Errorf("compare(%q, %q): got %d, want %d", a, b, got, want)
		}
	})
}

func TestMissingReleaseEqualsAny(t *testing.T) {
	full := anyVersion(schema.FormatRPM)
	rapid.Check(t, func(t *rapid.T) {
		a, b := full.Draw(t, "a"), full.Draw(t, "b")
		bare, _, _ := strings.Cut(a, "-")
		if got := compare(t, schema.FormatRPM, bare, a); got != 0 {
			t.Errorf("compare(%q, %q): got %d, want 0", bare, a, got)
		}
		bareB, _, _ := strings.Cut(b, "-")
		if got, want := compare(t, schema.FormatRPM, bare, b), compare(t, schema.FormatRPM, bare, bareB); got != want {
			t.Errorf("compare(%q, %q): got %d, want %d", bare, b, got, want)
		}
	})
}

func FuzzCompare(f *testing.F) {
	for _, v := range []string{"1:1.0~rc1-1", "5.14.0-70.13.1.el9_0", "1.1.1d-r2", "1.0^git1~pre-1", "0:0", "<unfixed>", ":", "-", "~"} {
		f.Add(v, "1.0")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, format := range formats {
			ab, errAB := version.Compare(format, a, b)
			ba, errBA := version.Compare(format, b, a)
			if (errAB == nil) != (errBA == nil) || ab != -ba {
				t.Errorf("%s: compare(%q, %q): %d, %v; reversed: %d, %v", format, a, b, ab, errAB, ba, errBA)
			}
			if aa, err := version.Compare(format, a, a); err == nil && aa != 0 {
				t.Errorf("%s: compare(%q, itself): got %d", format, a, aa)
			}
		}
	})
}

func compare(t *rapid.T, f schema.PackageFormat, a, b string) int {
	t.Helper()
	got, err := version.Compare(f, a, b)
	if err != nil {
		t.Fatalf("compare(%q, %q): %v", a, b, err)
	}
	return got
}

// verrevcmp restates dpkg's function of that name.
func verrevcmp(a, b string) int {
	at := func(s string, i int) byte {
		if i < len(s) {
			return s[i]
		}
		return 0
	}
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	order := func(c byte) int {
		switch {
		case digit(c), c == 0:
			return 0
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
			return int(c)
		case c == '~':
			return -1
		default:
			return int(c) + 256
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		for i < len(a) && !digit(a[i]) || j < len(b) && !digit(b[j]) {
			if c := cmp.Compare(order(at(a, i)), order(at(b, j))); c != 0 {
				return c
			}
			i, j = i+1, j+1
		}
		for at(a, i) == '0' {
			i++
		}
		for at(b, j) == '0' {
			j++
		}
		first := 0
		for digit(at(a, i)) && digit(at(b, j)) {
			if first == 0 {
				first = cmp.Compare(a[i], b[j])
			}
			i, j = i+1, j+1
		}
		switch {
		case digit(at(a, i)):
			return 1
		case digit(at(b, j)):
			return -1
		case first != 0:
			return first
		}
	}
	return 0
}

// rpmvercmp restates rpm's function of that name.
func rpmvercmp(a, b string) int {
	alnum := func(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	skip := func(s string) string {
		return strings.TrimLeftFunc(s, func(r rune) bool { return !alnum(byte(r)) && r != '~' && r != '^' })
	}
	segment := func(s string, in func(byte) bool) (string, string) {
		n := 0
		for n < len(s) && in(s[n]) {
			n++
		}
		return s[:n], s[n:]
	}
	for a != "" || b != "" {
		a, b = skip(a), skip(b)
		at, bt := strings.HasPrefix(a, "~"), strings.HasPrefix(b, "~")
		if at || bt {
			if !at {
				return 1
			}
			if !bt {
				return -1
			}
			a, b = a[1:], b[1:]
			continue
		}
		ac, bc := strings.HasPrefix(a, "^"), strings.HasPrefix(b, "^")
		if ac || bc {
			switch {
			case a == "":
				return -1
			case b == "":
				return 1
			case !ac:
				return 1
			case !bc:
				return -1
			}
			a, b = a[1:], b[1:]
			continue
		}
		if a == "" || b == "" {
			break
		}
		numeric := digit(a[0])
		in := func(c byte) bool { return alnum(c) && !digit(c) }
		if numeric {
			in = digit
		}
		var sa, sb string
		sa, a = segment(a, in)
		sb, b = segment(b, in)
		if sb == "" {
			if numeric {
				return 1
			}
			return -1
		}
		if numeric {
			sa, sb = strings.TrimLeft(sa, "0"), strings.TrimLeft(sb, "0")
			if c := cmp.Compare(len(sa), len(sb)); c != 0 {
				return c
			}
		}
		if c := strings.Compare(sa, sb); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}
