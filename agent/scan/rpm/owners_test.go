package rpm_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/agent/scan/rpm"
)

const filesSpec = `Name: %s
Version: 1.0
Release: 1
Summary: made for tests
License: MIT
BuildArch: noarch
AutoReqProv: no
%%description
Made for tests.
%%install
mkdir -p %%{buildroot}/usr/lib/%[1]s %%{buildroot}/etc
echo x >%%{buildroot}/usr/lib/%[1]s/libtest.so.1
echo x >%%{buildroot}/etc/%[1]s.conf
%%files
/usr/lib/%[1]s
/etc/%[1]s.conf
`

func TestOwnersAsRpmSays(t *testing.T) {
	root, top := newRoot(t), t.TempDir()
	for _, name := range []string{"first", "second"} {
		spec := filepath.Join(t.TempDir(), name+".spec")
		if err := os.WriteFile(spec, fmt.Appendf(nil, filesSpec, name), 0o644); err != nil {
			t.Fatal(err)
		}
		tool(t, "rpmbuild", "--quiet", "--define", "_topdir "+top, "-bb", spec)
		root.rpm("-i", "--nodeps", "--justdb", filepath.Join(top, "RPMS", "noarch", name+"-1.0-1.noarch.rpm"))
	}
	got, gaps := rpm.Owners(t.Context(), os.DirFS(root.dir), "", []string{
		"/usr/lib/first/libtest.so.1", "/usr/lib/second/libtest.so.1", "/etc/second.conf", "/usr/lib/third/libtest.so.1", "/etc",
	})
	want := map[string]rpm.Owner{
		"/usr/lib/first/libtest.so.1":  {Name: "first", Arch: "noarch"},
		"/usr/lib/second/libtest.so.1": {Name: "second", Arch: "noarch"},
		"/etc/second.conf":             {Name: "second", Arch: "noarch"},
	}
	if diff := cmp.Diff(want, got); diff != "" || len(gaps) > 0 {
		t.Errorf("owners (-want +got):\n%s\ngaps %v", diff, gaps)
	}
}

func TestOwnersWithoutADatabase(t *testing.T) {
	if got, gaps := rpm.Owners(t.Context(), os.DirFS(t.TempDir()), "", []string{"/bin/sh"}); len(got)+len(gaps) > 0 {
		t.Errorf("got %v, gaps %v", got, gaps)
	}
}

func TestOwnersOfADamagedDatabaseIsAGap(t *testing.T) {
	dir := place(t, "Packages.db", fixture(t, "Packages.db")[:5000])
	if got, gaps := rpm.Owners(t.Context(), os.DirFS(dir), "", []string{"/bin/sh"}); len(got) > 0 || len(gaps) == 0 {
		t.Errorf("got %v, gaps %v", got, gaps)
	}
}
