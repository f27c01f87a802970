package rpm_test

import (
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/agent/scan/rootfs"
	"github.com/patchproof/patchproof/agent/scan/rpm"
)

func TestHistory(t *testing.T) {
	root := fstest.MapFS{"var/log/dnf.rpm.log": {Data: []byte(
		"2026-11-19T06:14:02+0000 SUBDEBUG Upgraded: bash-5.1.8-6.el9_1.x86_64\n" +
			"2026-11-21T06:14:01+0000 SUBDEBUG Upgrade: openssl-libs-1:3.0.7-24.el9.x86_64\n" +
			"2026-11-21T07:14:02+0100 SUBDEBUG Upgraded: openssl-libs-1:3.0.1-43.el9_0.x86_64\n" +
			"2026-11-21T06:15:00+0000 SUBDEBUG Erase: zlib-0:1.2.11-34.el9.x86_64\n" +
			"2026-11-21T06:15:00+0000 INFO --- logging initialized ---\n2026-11-21T06:15:00+0000 SUBDEBUG Upgraded: odd\n",
	)}}
	got, gaps := rpm.History(root, time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC))
	for o, list := range got {
		for i := range list {
			got[o][i].At = list[i].At.UTC()
		}
	}
	want := map[rpm.Owner][]rootfs.Replaced{
		{Name: "openssl-libs", Arch: "x86_64"}: {{At: time.Date(2026, 11, 21, 6, 14, 2, 0, time.UTC), Old: "1:3.0.1-43.el9_0"}},
		{Name: "zlib", Arch: "x86_64"}:         {{At: time.Date(2026, 11, 21, 6, 15, 0, 0, time.UTC), Old: "1.2.11-34.el9"}},
	}
	if diff := cmp.Diff(want, got); diff != "" || len(gaps) > 0 {
		t.Errorf("history (-want +got):\n%s\ngaps %v", diff, gaps)
	}
}
