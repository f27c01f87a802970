package osrelease_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/agent/scan/osrelease"
	"github.com/patchproof/patchproof/schema"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     schema.OSRelease
	}{
		{
			"Debian",
			"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nID=debian\n",
			schema.OSRelease{ID: "debian", VersionID: "12", Codename: "bookworm", Name: "Debian GNU/Linux", PrettyName: "Debian GNU/Linux 12 (bookworm)"},
		},
		{
			"Amazon Linux",
			"NAME=\"Amazon Linux\"\nID=\"amzn\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"2023\"\nCPE_NAME=\"cpe:2.3:o:amazon:amazon_linux:2023\"\n",
			schema.OSRelease{ID: "amzn", IDLike: []string{"fedora"}, VersionID: "2023", Name: "Amazon Linux", CPEName: "cpe:2.3:o:amazon:amazon_linux:2023"},
		},
		{
			"single quotes, comments, spaces around lines, no last newline",
			"# comment\n\n  ID='rocky'  \nID_LIKE='rhel centos  fedora'\n#ID=no\nVERSION_ID=9.3",
			schema.OSRelease{ID: "rocky", IDLike: []string{"rhel", "centos", "fedora"}, VersionID: "9.3"},
		},
		{
			"escapes",
			`ID=x` + "\n" + `NAME="a \"quoted\" \$name \` + "`" + `with\\ \n"` + "\n" + `PRETTY_NAME=one\ word then` + "\n",
			schema.OSRelease{ID: "x", Name: `a "quoted" $name ` + "`" + `with\ \n`, PrettyName: "one word"},
		},
		{
			"nothing is expanded",
			"ID=x\nNAME=\"$(id) ${HOME} `id`\"\n",
			schema.OSRelease{ID: "x", Name: "$(id) ${HOME} `id`"},
		},
		{"the last one holds", "ID=a\nID=b\n", schema.OSRelease{ID: "b"}},
		{"capitals", "ID=Debian\n", schema.OSRelease{ID: "debian"}},
		{"an open quote ends with its line", "NAME=\"open\nID=x\n", schema.OSRelease{ID: "x", Name: "open"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := osrelease.Parse(strings.NewReader(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("release (-want +got):\n%s", d)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":  "",
		"no ID":    "NAME=x\n",
		"empty ID": "ID=\"\"\n",
		"too long": "ID=x\n" + strings.Repeat("#\n", osrelease.MaxSize),
		"one line": "ID=" + strings.Repeat("x", osrelease.MaxSize+1),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := osrelease.Parse(strings.NewReader(in)); err == nil {
				t.Errorf("got %+v, want an error", got)
			}
		})
	}
}

func TestRead(t *testing.T) {
	file := func(content string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(content)} }
	for _, tc := range []struct {
		name string
		root fstest.MapFS
		id   string
		gaps int
	}{
		{"etc comes first", fstest.MapFS{"etc/os-release": file("ID=a"), "usr/lib/os-release": file("ID=b")}, "a", 0},
		{"usr/lib when etc has none", fstest.MapFS{"usr/lib/os-release": file("ID=b")}, "b", 0},
		{"usr/lib when etc is broken, and a gap", fstest.MapFS{"etc/os-release": file(""), "usr/lib/os-release": file("ID=b")}, "b", 1},
		{"a directory in its place", fstest.MapFS{"etc/os-release/x": file("")}, "", 1},
		{"none", fstest.MapFS{}, "", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, gaps := osrelease.Read(tc.root)
			if got.ID != tc.id || len(gaps) != tc.gaps {
				t.Errorf("got %+v, gaps %+v, want ID %q and %d gaps", got, gaps, tc.id, tc.gaps)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("ID=debian\nNAME=\"a\\\"b\"\n#\nID_LIKE='a b'\n")
	f.Add("ID=\\\n=\nx")
	f.Fuzz(func(t *testing.T, in string) {
		r, err := osrelease.Parse(strings.NewReader(in))
		if err == nil && (r.ID == "" || len(r.IDLike) > schema.MaxIDLike) {
			t.Errorf("%q gives %+v", in, r)
		}
	})
}
