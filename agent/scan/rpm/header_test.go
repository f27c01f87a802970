package rpm

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/schema"
)

// tag is one entry of a header made for a test.
type tag struct {
	id, kind uint32
	value    []byte
}

func str(id uint32, s string) tag { return tag{id, typeString, append([]byte(s), 0)} }

func num(id, n uint32) tag { return tag{id, typeInt32, binary.BigEndian.AppendUint32(nil, n)} }

// encode writes a header as rpm does, apart from its alignment.
func encode(tags ...tag) []byte {
	var index, data []byte
	for _, t := range tags {
		for _, v := range []uint32{t.id, t.kind, uint32(len(data)), 1} {
			index = binary.BigEndian.AppendUint32(index, v)
		}
		data = append(data, t.value...)
	}
	blob := binary.BigEndian.AppendUint32(nil, uint32(len(tags)))
	blob = binary.BigEndian.AppendUint32(blob, uint32(len(data)))
	return append(append(blob, index...), data...)
}

func bash(more ...tag) []byte {
	return encode(append([]tag{
		str(tagName, "bash"), str(tagVersion, "5.1.8"), str(tagRelease, "6.el9"), str(tagArch, "x86_64"),
		str(tagSourceRPM, "bash-5.1.8-6.el9.src.rpm"),
	}, more...)...)
}

func TestParseHeader(t *testing.T) {
	want := schema.Package{
		Format: schema.FormatRPM, Name: "bash", Version: "5.1.8", Release: "6.el9", Arch: "x86_64",
		Source: "bash", SourceVersion: "5.1.8-6.el9", Status: schema.StatusInstalled,
	}
	for _, tc := range []struct {
		name   string
		in     []byte
		change func(p *schema.Package)
	}{
		{"plain", bash(), func(*schema.Package) {}},
		{"epoch and time", bash(num(tagEpoch, 7), num(tagInstallTime, 1_700_000_000)), func(p *schema.Package) {
			p.Epoch, p.InstalledAt = 7, 1_700_000_000
		}},
		{"a time after 2038", bash(num(tagInstallTime, 4_000_000_000)), func(p *schema.Package) { p.InstalledAt = 4_000_000_000 }},
		{"vendor of more than one language", bash(tag{tagVendor, typeI18N, []byte("Example\x00Exemple\x00")}), func(p *schema.Package) {
			p.Vendor = "Example"
		}},
		{"none for nothing", bash(str(tagVendor, "(none)")), func(*schema.Package) {}},
		{"the last entry holds", bash(str(tagRelease, "7.el9")), func(p *schema.Package) { p.Release = "7.el9" }},
		{"other source", bash(str(tagSourceRPM, "a-b-1-2.nosrc.rpm")), func(p *schema.Package) {
			p.Source, p.SourceVersion = "a-b", "1-2"
		}},
		{"no source", bash(str(tagSourceRPM, ""), num(tagEpoch, 1)), func(p *schema.Package) {
			p.Epoch, p.SourceVersion = 1, "1:5.1.8-6.el9"
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := want
			tc.change(&want)
			got, err := parseHeader(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("package (-want +got):\n%s", d)
			}
		})
	}
}

func TestParseHeaderKey(t *testing.T) {
	if _, err := parseHeader(encode(str(tagName, "gpg-pubkey"))); !errors.Is(err, errNotPackage) {
		t.Errorf("got %v, want %v", err, errNotPackage)
	}
}

func TestParseHeaderRefuses(t *testing.T) {
	whole := bash()
	far := bash(str(tagVendor, "x"))
	binary.BigEndian.PutUint32(far[preambleSize+5*entrySize+8:], 1<<20)
	negative := bash(str(tagVendor, "x"))
	binary.BigEndian.PutUint32(negative[preambleSize+5*entrySize+8:], 1<<31)
	for name, in := range map[string][]byte{
		"nothing":             nil,
		"cut":                 whole[:len(whole)-1],
		"bytes behind it":     append(bash(), 0),
		"no name":             encode(str(tagVersion, "1"), str(tagRelease, "1")),
		"no version":          encode(str(tagName, "a"), str(tagRelease, "1")),
		"no release":          encode(str(tagName, "a"), str(tagVersion, "1")),
		"name without end":    encode(str(tagVersion, "1"), str(tagRelease, "1"), tag{tagName, typeString, []byte("abc")}),
		"number for a string": bash(num(tagArch, 1)),
		"string for a number": bash(str(tagEpoch, "1")),
		"half a number":       bash(tag{tagEpoch, typeInt32, []byte{1}}),
		"epoch beyond dpkg's": bash(num(tagEpoch, 1<<31)),
		"offset too far":      far,
		"offset below zero":   negative,
		"control character":   bash(str(tagVersion, "1\n2")),
		"space in a version":  bash(str(tagVersion, "1 2")),
		"source without dash": bash(str(tagSourceRPM, "bash.src.rpm")),
		"source of no rpm":    bash(str(tagSourceRPM, "bash-1-2.src")),
	} {
		t.Run(name, func(t *testing.T) {
			if p, err := parseHeader(in); err == nil {
				t.Errorf("got %+v, want an error", p)
			}
		})
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(bash(num(tagEpoch, 7), str(tagModularityLabel, "a:b:1:c")))
	f.Add(encode(str(tagName, "gpg-pubkey")))
	if b, err := os.ReadFile("testdata/Packages.db"); err == nil {
		f.Add(b[4096:])
	}
	f.Fuzz(func(t *testing.T, blob []byte) {
		p, err := parseHeader(blob)
		if err != nil {
			return
		}
		if _, err := schema.EncodePackages([]schema.Package{p}); err != nil {
			t.Errorf("%+v cannot be stated: %v", p, err)
		}
	})
}
