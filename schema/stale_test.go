package schema_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/schema"
)

func TestStaleTextIsOneLineAFile(t *testing.T) {
	got, err := schema.EncodeStale([]schema.Stale{
		{Path: "/opt/app/lib.so", Kind: schema.StaleDeleted, PID: 4321, Started: 1767225600, Command: "app", Container: "0123abcd"},
		{
			Package: "libssl3", Arch: "amd64", Loaded: "3.0.11-1~deb12u1", Path: "/usr/lib/x86_64-linux-gnu/libssl.so.3",
			Kind: schema.StaleReplaced, PID: 812, Started: 1767225601, Command: "ng\tinx", Unit: "nginx.service",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "\t\t\t/opt/app/lib.so\tdeleted\t4321\t1767225600\tapp\t\t0123abcd\n" +
		"libssl3\tamd64\t3.0.11-1~deb12u1\t/usr/lib/x86_64-linux-gnu/libssl.so.3\treplaced\t812\t1767225601\tng\\x09inx\tnginx.service\t\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

func TestStaleTextRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		field := rapid.StringN(0, 40, 200)
		list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) schema.Stale {
			return schema.Stale{
				Package: field.Draw(t, "package"), Arch: field.Draw(t, "arch"), Loaded: field.Draw(t, "loaded"),
				Path: "/" + field.Draw(t, "path"),
				Kind: rapid.SampledFrom([]string{schema.StaleReplaced, schema.StaleDeleted, schema.StaleModule}).Draw(t, "kind"),
				PID:  rapid.IntRange(1, 1<<22).Draw(t, "pid"), Started: rapid.Int64Range(0, 253402300799).Draw(t, "started"),
				Command: field.Draw(t, "command"), Unit: field.Draw(t, "unit"), Container: field.Draw(t, "container"),
			}
		}), 0, 20).Draw(t, "list")
		text, err := schema.EncodeStale(list)
		if err != nil {
			t.Fatal(err)
		}
		back, err := schema.DecodeStale(text)
		if err != nil {
			t.Fatal(err)
		}
		again, err := schema.EncodeStale(back)
		if err != nil || again != text {
			t.Fatalf("encoded again, %v: %q, want %q", err, again, text)
		}
		distinct := map[schema.Stale]bool{}
		for _, s := range list {
			distinct[s] = true
		}
		for _, s := range back {
			if !distinct[s] {
				t.Fatalf("%+v came out and never went in", s)
			}
			delete(distinct, s)
		}
		if len(distinct) > 0 {
			t.Fatalf("lost %v", distinct)
		}
	})
}

func TestDecodeStaleRefuses(t *testing.T) {
	line := func(change func(fields []string)) string {
		fields := []string{"libc6", "amd64", "", "/lib/libc.so.6", "replaced", "812", "1767225601", "sshd", "ssh.service", ""}
		change(fields)
		return strings.Join(fields, "\t") + "\n"
	}
	sound := line(func([]string) {})
	if _, err := schema.DecodeStale(sound); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"kind":             line(func(f []string) { f[4] = "gone" }),
		"no_path":          line(func(f []string) { f[3] = "" }),
		"long_path":        line(func(f []string) { f[3] = strings.Repeat("/", 4097) }),
		"long_unit":        line(func(f []string) { f[8] = strings.Repeat("u", schema.MaxField+1) }),
		"pid_zero":         line(func(f []string) { f[5] = "0" }),
		"pid_large":        line(func(f []string) { f[5] = "4194305" }),
		"pid_padded":       line(func(f []string) { f[5] = "0812" }),
		"started":          line(func(f []string) { f[6] = "-1" }),
		"columns":          strings.TrimSuffix(sound, "\n") + "\t\n",
		"few_columns":      "a\tb\n",
		"needless_escape":  line(func(f []string) { f[7] = `\x41` }),
		"control":          line(func(f []string) { f[7] = "\x1b" }),
		"no_newline":       strings.TrimSuffix(sound, "\n"),
		"twice":            sound + sound,
		"not_utf8":         line(func(f []string) { f[7] = "\xff" }),
		"more_than_a_part": strings.Repeat("x", schema.MaxPart+1),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := schema.DecodeStale(text); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func FuzzDecodeStale(f *testing.F) {
	f.Add("libc6\tamd64\t\t/lib/libc.so.6\treplaced\t812\t1767225601\tsshd\tssh.service\t\n")
	f.Add("\t\t\t/a\\x0a\tdeleted\t1\t0\t\t\t\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := schema.DecodeStale(text)
		if err != nil {
			return
		}
		again, err := schema.EncodeStale(list)
		if err != nil || again != text {
			t.Errorf("%q comes out as %q (%v)", text, again, err)
		}
	})
}
