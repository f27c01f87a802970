package assess_test

import (
	"strings"
	"testing"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/schema"
)

const liveKey = "CVE-2026-0100 linux"

// kernelCare is a live patch that makes the running kernel as good as another.
func kernelCare(effective string) []schema.LivePatch {
	return []schema.LivePatch{{Provider: schema.ProviderKernelCare, Name: "kcare", Loaded: true, Enabled: true, Effective: effective}}
}

// A live patch fixes while it holds. A boot without it brings the same episode
// back, however late; a fixed kernel that boots ends it for good.
func TestLivePatchFixesUntilABootWithoutIt(t *testing.T) {
	w := newWorld(t)
	w.feed(fixedIn("DSA-100", "CVE-2026-0100", "linux", "6.1.140-1", start))
	old := deb("linux-image-6.1.0-30-amd64", "linux", "6.1.124-1")
	fixed := deb("linux-image-6.1.0-35-amd64", "linux", "6.1.140-1")
	host := func(n uint64, kernel string, patches []schema.LivePatch, ps ...schema.Package) {
		t.Helper()
		w.report(statement{sequence: n, kernel: kernel, packages: ps, patches: patches})
		w.assess()
	}
	host(1, "6.1.0-30-amd64", nil, old)
	first := w.only(liveKey)
	if first.State != finding.Open {
		t.Fatalf("got %s, want open", first.State)
	}
	w.days(1)
	host(2, "6.1.0-30-amd64", kernelCare("6.1.140-1"), old)
	f := w.only(liveKey)
	if f.State != finding.Fixed || !f.End.LivePatch || !strings.HasPrefix(f.Reason, "fixed by live patch: kernelcare") {
		t.Fatalf("got %s (%s), live patch %v", f.State, f.Reason, f.End.LivePatch)
	}
	w.days(60)
	host(3, "6.1.0-30-amd64", kernelCare("6.1.140-1"), old)
	if f := w.only(liveKey); f.State != finding.Fixed || f.End.Final {
		t.Fatalf("60 days later: got %s, final %v: it stands on the live patch alone", f.State, f.End.Final)
	}
	host(4, "6.1.0-30-amd64", nil, old)
	f = w.only(liveKey)
	if f.State != finding.Open || f.ID != first.ID || f.Episode > 1 || !f.Detected.Equal(first.Detected) {
		t.Fatalf("booted without it: got %s, episode %d, detected %s; want the first episode again", f.State, f.Episode, f.Detected)
	}
	w.days(1)
	host(5, "6.1.0-30-amd64", kernelCare("6.1.140-1"), old, fixed)
	if f := w.only(liveKey); f.State != finding.Fixed || !f.End.LivePatch {
		t.Fatalf("patched again: got %s (%s)", f.State, f.Reason)
	}
	w.days(1)
	host(6, "6.1.0-35-amd64", nil, old, fixed)
	if f := w.only(liveKey); f.State != finding.Fixed || f.End.LivePatch {
		t.Fatalf("booted into the fixed kernel: got %s, live patch %v", f.State, f.End.LivePatch)
	}
}

func TestLivePatchInTransitionFixesNothing(t *testing.T) {
	w := newWorld(t)
	w.feed(fixedIn("DSA-100", "CVE-2026-0100", "linux", "6.1.140-1", start))
	old := deb("linux-image-6.1.0-30-amd64", "linux", "6.1.124-1")
	patches := kernelCare("6.1.140-1")
	patches[0].Transition = true
	w.report(statement{sequence: 1, kernel: "6.1.0-30-amd64", packages: []schema.Package{old}, patches: patches})
	w.assess()
	if f := w.only(liveKey); f.State != finding.Open {
		t.Errorf("got %s (%s), want open", f.State, f.Reason)
	}
}

func libssl(evr string) schema.Package { return deb("libssl3", "openssl", evr) }

func oldCode(loaded string) []schema.Stale {
	return []schema.Stale{{
		Package: "libssl3", Arch: "amd64", Loaded: loaded, Path: "/usr/lib/libssl.so.3", Kind: schema.StaleReplaced,
		PID: 812, Command: "nginx", Unit: "nginx.service",
	}}
}

// Fixed on disk is not fixed while a process runs the old file, whether or not
// anybody knows its version.
func TestStaleCodeKeepsTheClockRunning(t *testing.T) {
	for name, loaded := range map[string]string{"known_version": "3.0.11-1", "unknown_version": ""} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			const key = "CVE-2026-0001 openssl"
			w.feed(fixedIn("DSA-1", "CVE-2026-0001", "openssl", "3.0.15-1", start))
			w.report(statement{sequence: 1, packages: []schema.Package{libssl("3.0.11-1")}, stale: []schema.Stale{}})
			w.assess()
			w.days(1)
			w.report(statement{sequence: 2, packages: []schema.Package{libssl("3.0.15-1")}, stale: oldCode(loaded)})
			w.assess()
			f := w.only(key)
			if f.State != finding.PendingRestart || f.Verdict.Due == "" || !strings.Contains(f.Reason, "nginx.service (812)") {
				t.Fatalf("got %s (%s) due %q, want pending_restart with the clock running", f.State, f.Reason, f.Verdict.Due)
			}
			w.days(1)
			w.report(statement{sequence: 3, packages: []schema.Package{libssl("3.0.15-1")}, stale: []schema.Stale{}})
			w.assess()
			if f := w.only(key); f.State != finding.Fixed {
				t.Errorf("restarted: got %s (%s), want fixed", f.State, f.Reason)
			}
		})
	}
}

func TestWhatNobodyCouldLookAtClosesNothing(t *testing.T) {
	w := newWorld(t)
	const key = "CVE-2026-0001 openssl"
	w.feed(fixedIn("DSA-1", "CVE-2026-0001", "openssl", "3.0.15-1", start))
	w.report(statement{sequence: 1, packages: []schema.Package{libssl("3.0.11-1")}, stale: []schema.Stale{}})
	w.assess()
	w.report(statement{
		sequence: 2, packages: []schema.Package{libssl("3.0.15-1")},
		gaps: []schema.Gap{{Extractor: "process", Kind: schema.GapUnreadable, Path: "/proc", Detail: "40 of 40 processes may not be looked at"}},
	})
	w.assess()
	f := w.only(key)
	if !f.State.Running() || !f.Stale || !strings.Contains(f.Reason, "40 of 40 processes") {
		t.Errorf("got %s (%s), stale %v; want it open, and said why", f.State, f.Reason, f.Stale)
	}
}
