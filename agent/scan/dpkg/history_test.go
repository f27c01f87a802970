package dpkg_test

import (
	"bytes"
	"compress/gzip"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/agent/scan/dpkg"
	"github.com/patchproof/patchproof/agent/scan/rootfs"
)

func gz(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHistory(t *testing.T) {
	root := fstest.MapFS{
		"var/log/dpkg.log": {Data: []byte("2026-11-20 06:00:00 startup archives unpack\n" +
			"2026-11-20 06:00:01 upgrade libssl3:amd64 3.0.13-1 3.0.14-1\n" +
			"2026-11-20 06:00:02 status half-configured libssl3:amd64 3.0.13-1\n" +
			"2026-11-20 06:00:03 install new:amd64 <none> 1.0\n" +
			"2026-11-20 06:00:04 upgrade fresh:amd64 <none> 1.0\n" +
			"broken\n2026-13-99 99:99:99 upgrade a:amd64 1 2\n")},
		"var/log/dpkg.log.1": {Data: []byte("2026-10-20 06:00:01 upgrade libssl3:amd64 3.0.11-1 3.0.13-1\n" +
			"2026-10-20 06:00:02 remove tzdata:all 2026a <none>\n")},
		"var/log/dpkg.log.2.gz": {Data: gz(t, "2026-08-01 06:00:01 upgrade bash:amd64 5.1-1 5.2-1\n2026-09-20 06:00:01 upgrade bash:amd64 5.2-1 5.2-2\n")},
		"var/log/dpkg.log.3.gz": {Data: []byte("not read: the file before it begins earlier than what is asked for")},
	}
	at := func(s string) time.Time {
		v, err := time.ParseInLocation(time.DateTime, s, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	got, gaps := dpkg.History(root, time.UTC, at("2026-09-01 00:00:00"))
	want := map[dpkg.Owner][]rootfs.Replaced{
		{Name: "libssl3", Arch: "amd64"}: {{At: at("2026-11-20 06:00:01"), Old: "3.0.13-1"}, {At: at("2026-10-20 06:00:01"), Old: "3.0.11-1"}},
		{Name: "tzdata", Arch: "all"}:    {{At: at("2026-10-20 06:00:02"), Old: "2026a"}},
		{Name: "bash", Arch: "amd64"}:    {{At: at("2026-09-20 06:00:01"), Old: "5.2-1"}},
	}
	if diff := cmp.Diff(want, got); diff != "" || len(gaps) > 0 {
		t.Errorf("history (-want +got):\n%s\ngaps %v", diff, gaps)
	}
	if got, gaps := dpkg.History(fstest.MapFS{}, time.UTC, time.Time{}); len(got)+len(gaps) > 0 {
		t.Errorf("no log: %v, gaps %v", got, gaps)
	}
	if _, gaps := dpkg.History(root, time.UTC, at("2020-01-01 00:00:00")); len(gaps) != 1 {
		t.Errorf("a damaged log: gaps %v, want one", gaps)
	}
}
