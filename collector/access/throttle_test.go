package access

import (
	"fmt"
	"testing"
	"time"
)

// TestThrottleForgets is in the package: what it remembers has no other window.
func TestThrottleForgets(t *testing.T) {
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	th := newThrottle(1, 2, 10)
	for i := range 1000 { // each from an address of its own
		th.take(fmt.Sprint(i), now)
		if len(th.by) > 10 {
			t.Fatalf("after %d keys %d are remembered, want at most 10", i, len(th.by))
		}
	}
	if wait := th.take("new", now); wait <= 0 {
		t.Error("who comes when all places are taken has no limit")
	}
	if wait := th.take("0", now); wait != 0 {
		t.Errorf("one that is remembered waits %s for the others", wait)
	}
	now = now.Add(time.Hour)
	if wait := th.take("new", now); wait != 0 || len(th.by) != 1 {
		t.Errorf("an hour later: wait %s, %d remembered, want the idle ones forgotten", wait, len(th.by))
	}
}

func TestAddressOf(t *testing.T) {
	for in, want := range map[string]string{
		"10.1.2.3:999":             "10.1.2.3",
		"[::ffff:10.1.2.3]:1":      "10.1.2.3",
		"[2001:db8:1:2:3:4:5:6]:1": "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::]:2":  "2001:db8:1:2::/64",
		"[fe80::1%eth0]:2":         "fe80::/64",
		"@":                        "",
		"example.org:80":           "",
		"999.999.999.999:1":        "",
		"":                         "",
	} {
		if got := addressOf(in); got != want {
			t.Errorf("addressOf(%q) = %q, want %q", in, got, want)
		}
	}
}
