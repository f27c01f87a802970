package spool_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/agent/spool"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

const transportKey = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"

var clock = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func testKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+seed)), ed25519.SeedSize)))
}

func public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

// report is a host with these packages.
func report(t testing.TB, names ...string) *schema.Report {
	t.Helper()
	var ps []schema.Package
	for _, n := range names {
		ps = append(ps, schema.Package{
			Format: schema.FormatDeb, Name: n, Version: "1", Release: "1", Arch: "amd64",
			Source: n, SourceVersion: "1-1", Status: schema.StatusInstalled,
		})
	}
	text, err := schema.EncodePackages(ps)
	if err != nil {
		t.Fatal(err)
	}
	return &schema.Report{
		CollectedAt: clock, TransportKey: transportKey, Agent: schema.Agent{Version: "test"},
		Parts:  []schema.Part{schema.NewPart(schema.PartPackages, text)},
		Bodies: map[string]string{schema.PartPackages: text},
	}
}

func open(t testing.TB, dir string, l spool.Limits) *spool.Spool {
	t.Helper()
	s, err := spool.Open(dir, public(testKey(0)), l)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func add(t testing.TB, s *spool.Spool, names ...string) spool.Entry {
	t.Helper()
	e, err := s.Append(report(t, names...), testKey(0))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func read(t testing.TB, s *spool.Spool, e spool.Entry) *schema.Report {
	t.Helper()
	raw, err := s.Load(e)
	if err != nil {
		t.Fatal(err)
	}
	o, err := envelope.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	r, err := o.Report()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func receipt(kind string, e spool.Entry) schema.Receipt {
	r := schema.Receipt{
		Kind: kind, ReportID: e.ID, Host: schema.KeyID(public(testKey(0))), Sequence: e.Sequence,
		LogOrigin: "test", LeafIndex: -1, ReceivedAt: clock,
	}
	switch kind {
	case schema.ReceiptAccepted:
		r.LeafIndex = int64(e.Sequence)
	case schema.ReceiptNeed:
		r.Parts = []string{schema.PartPackages}
	}
	return r
}

func rejected(e spool.Entry, reason string) schema.Receipt {
	r := receipt(schema.ReceiptRejected, e)
	r.Reason = reason
	return r
}

func settle(t testing.TB, s *spool.Spool, r schema.Receipt, want spool.Outcome) {
	t.Helper()
	got, err := s.Settle([]byte("raw"), r)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("receipt %s %s for sequence %d: outcome %q, want %q", r.Kind, r.Reason, r.Sequence, got, want)
	}
}

func sequences(t testing.TB, s *spool.Spool) []uint64 {
	t.Helper()
	entries, err := s.Pending()
	if err != nil {
		t.Fatal(err)
	}
	var out []uint64
	for _, e := range entries {
		out = append(out, e.Sequence)
	}
	return out
}

func status(t testing.TB, dir string) spool.Status {
	t.Helper()
	st, err := spool.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func spoolGaps(r *schema.Report) []string {
	var out []string
	for _, g := range r.Gaps {
		if g.Extractor == spool.Extractor {
			out = append(out, g.Kind+": "+g.Detail)
		}
	}
	return out
}

func TestAppendChains(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, spool.Limits{})
	first, second := add(t, s, "a"), add(t, s, "a", "b")
	s = open(t, dir, spool.Limits{}) // a restart changes nothing
	third := add(t, s, "a")
	if r := read(t, s, first); r.Sequence != 1 || r.Previous != "" {
		t.Errorf("first: sequence %d, previous %q", r.Sequence, r.Previous)
	}
	if r := read(t, s, second); r.Sequence != 2 || r.Previous != first.ID {
		t.Errorf("second: sequence %d, previous %q, want %q", r.Sequence, r.Previous, first.ID)
	}
	if r := read(t, s, third); r.Sequence != 3 || r.Previous != second.ID {
		t.Errorf("third: sequence %d, previous %q, want %q", r.Sequence, r.Previous, second.ID)
	}
	if diff := cmp.Diff([]uint64{1, 2, 3}, sequences(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestBodyTravelsUntilReceipted(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "spool"), spool.Limits{})
	bodies := func(e spool.Entry) int { return len(read(t, s, e).Bodies) }
	first, second := add(t, s, "a"), add(t, s, "a")
	if bodies(first) != 1 || bodies(second) != 1 {
		t.Errorf("bodies %d and %d before any receipt, want 1 and 1", bodies(first), bodies(second))
	}
	settle(t, s, receipt(schema.ReceiptAccepted, second), spool.Accepted)
	same, changed := add(t, s, "a"), add(t, s, "b")
	if bodies(same) != 0 || bodies(changed) != 1 {
		t.Errorf("bodies %d and %d, want the unchanged part by digest and the changed one in full", bodies(same), bodies(changed))
	}
	settle(t, s, receipt(schema.ReceiptAccepted, changed), spool.Accepted)
	// A late receipt for an older report must not bring its baseline back.
	settle(t, s, receipt(schema.ReceiptAccepted, first), spool.Accepted)
	if e := add(t, s, "b"); bodies(e) != 0 {
		t.Error("the newest accepted report is the baseline, but its part travels again")
	}
}

func TestOnlyAFittingReceiptRemoves(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "spool"), spool.Limits{})
	e := add(t, s, "a")
	for name, change := range map[string]func(*schema.Receipt){
		"another_host":              func(r *schema.Receipt) { r.Host = schema.KeyID(public(testKey(1))) },
		"another_sequence":          func(r *schema.Receipt) { r.Sequence++ },
		"accepted_without_sequence": func(r *schema.Receipt) { r.Sequence = 0 },
		"another_kind":              func(r *schema.Receipt) { r.Kind = "removed" },
	} {
		t.Run(name, func(t *testing.T) {
			r := receipt(schema.ReceiptAccepted, e)
			change(&r)
			if _, err := s.Settle(nil, r); !errors.Is(err, spool.ErrReceipt) {
				t.Errorf("error %v, want ErrReceipt", err)
			}
			if len(sequences(t, s)) != 1 {
				t.Fatal("the report left the spool")
			}
		})
	}
	settle(t, s, receipt(schema.ReceiptAccepted, e), spool.Accepted)
	settle(t, s, receipt(schema.ReceiptAccepted, e), spool.Unknown)
	if _, err := s.Load(e); !errors.Is(err, spool.ErrGone) {
		t.Errorf("load after its receipt: %v, want ErrGone", err)
	}
}

func TestUnknownKeyKeepsTheReport(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, spool.Limits{})
	e := add(t, s, "a")
	unread := rejected(e, schema.ReasonUnknownKey)
	unread.Sequence = 0
	settle(t, s, unread, spool.Kept)
	settle(t, s, unread, spool.Kept)
	if st := status(t, dir); st.Waiting != 1 || st.LastRejected == nil || st.LastRejected.Reason != schema.ReasonUnknownKey {
		t.Errorf("status %+v", st)
	}
	settle(t, s, receipt(schema.ReceiptAccepted, e), spool.Accepted)
}

func TestRejectionRetiresAndNextIsFull(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, spool.Limits{})
	settle(t, s, receipt(schema.ReceiptAccepted, add(t, s, "a")), spool.Accepted)
	bad := add(t, s, "a")
	settle(t, s, rejected(bad, schema.ReasonTransportMismatch), spool.Retired)
	if st := status(t, dir); st.Waiting != 0 || st.Rejected != 1 || st.Counts.Rejected != 1 {
		t.Errorf("status %+v", st)
	}
	kept, err := filepath.Glob(filepath.Join(dir, "rejected", "*-"+bad.ID+".*"))
	if err != nil || len(kept) != 2 {
		t.Errorf("kept %v (%v), want the report and its receipt", kept, err)
	}
	next := read(t, s, add(t, s, "a"))
	if len(next.Bodies) != 1 {
		t.Error("the report after a rejection does not carry its body")
	}
	want := []string{"unsupported: 1 reports were rejected by the collector (1 in all)"}
	if diff := cmp.Diff(want, spoolGaps(next)); diff != "" {
		t.Error(diff)
	}
	if again := spoolGaps(read(t, s, add(t, s, "a"))); again != nil {
		t.Errorf("told twice: %q", again)
	}
}

func TestForkSkipsAhead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, spool.Limits{})
	first, second := add(t, s, "a"), add(t, s, "a")
	settle(t, s, rejected(first, schema.ReasonSequenceFork), spool.Retired)
	settle(t, s, rejected(second, schema.ReasonSequenceFork), spool.Retired)
	if wants, err := s.WantsReport(); err != nil || !wants {
		t.Errorf("wants report %v, %v after a fork", wants, err)
	}
	e := add(t, s, "a")
	if want := uint64(2 + 1<<20 + 1); e.Sequence != want {
		t.Errorf("sequence %d after two forks of one chain, want one jump to %d", e.Sequence, want)
	}
	if r := read(t, s, e); r.Previous != second.ID || len(spoolGaps(r)) != 2 {
		t.Errorf("previous %q, gaps %q", r.Previous, spoolGaps(r))
	}
}

func TestNeedAsksForAFullReport(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "spool"), spool.Limits{})
	settle(t, s, receipt(schema.ReceiptAccepted, add(t, s, "a")), spool.Accepted)
	lean := add(t, s, "a")
	settle(t, s, receipt(schema.ReceiptNeed, lean), spool.Needed)
	if wants, err := s.WantsReport(); err != nil || !wants {
		t.Fatalf("wants report %v, %v", wants, err)
	}
	full := add(t, s, "a")
	if len(read(t, s, full).Bodies) != 1 {
		t.Error("the answer to a need does not carry the body")
	}
	settle(t, s, receipt(schema.ReceiptNeed, lean), spool.Needed) // a resend crossed; it is answered already
	if wants, err := s.WantsReport(); err != nil || wants {
		t.Errorf("wants report %v, %v though the full one is on its way", wants, err)
	}
	settle(t, s, receipt(schema.ReceiptAccepted, full), spool.Accepted)
	settle(t, s, receipt(schema.ReceiptAccepted, lean), spool.Accepted) // now its part is there
}

func TestNeedForLostPartsRetires(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, spool.Limits{})
	settle(t, s, receipt(schema.ReceiptAccepted, add(t, s, "a")), spool.Accepted)
	lean := add(t, s, "a")
	settle(t, s, receipt(schema.ReceiptNeed, lean), spool.Needed)
	settle(t, s, receipt(schema.ReceiptAccepted, add(t, s, "b")), spool.Accepted)
	settle(t, s, receipt(schema.ReceiptNeed, lean), spool.Needed) // may be older than the acceptance
	settle(t, s, receipt(schema.ReceiptNeed, lean), spool.Retired)
	if st := status(t, dir); st.Counts.Rejected != 1 || st.Waiting != 0 {
		t.Errorf("status %+v", st)
	}
}

func TestFullSpoolDropsOldestAndSaysSo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, spool.Limits{Reports: 3})
	for range 5 {
		add(t, s, "a")
	}
	if diff := cmp.Diff([]uint64{3, 4, 5}, sequences(t, s)); diff != "" {
		t.Error(diff)
	}
	if st := status(t, dir); st.Counts.Dropped != 2 {
		t.Errorf("dropped %d, want 2", st.Counts.Dropped)
	}
	// The report that pushed one out is sealed before it does; the next tells.
	want := []string{"truncated: 1 sealed reports were dropped unreceipted because the spool was full (2 in all)"}
	if diff := cmp.Diff(want, spoolGaps(read(t, s, add(t, s, "a")))); diff != "" {
		t.Error(diff)
	}
}

func TestByteLimitKeepsTheNewest(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "spool"), spool.Limits{Bytes: 1})
	add(t, s, "a")
	add(t, s, "a")
	if diff := cmp.Diff([]uint64{2}, sequences(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestDamagedFileIsMovedAsideAndTold(t *testing.T) {
	for name, damage := range map[string]func(raw []byte) []byte{
		"empty":      func([]byte) []byte { return nil },
		"half":       func(raw []byte) []byte { return raw[:len(raw)/2] },
		"zeros":      func(raw []byte) []byte { return make([]byte, len(raw)) },
		"one_bit":    func(raw []byte) []byte { raw[len(raw)/3] ^= 1; return raw },
		"too_long":   func([]byte) []byte { return make([]byte, envelope.MaxEnvelope+10) },
		"other_body": nil,
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "spool")
			s := open(t, dir, spool.Limits{})
			e, other := add(t, s, "a"), add(t, s, "b")
			file := filepath.Join(dir, fmt.Sprintf("0000-%020d-%s.json", e.Sequence, e.ID))
			raw, err := s.Load(e)
			if err != nil {
				t.Fatal(err)
			}
			if damage == nil {
				raw, err = s.Load(other)
				if err != nil {
					t.Fatal(err)
				}
			} else {
				raw = damage(raw)
			}
			if err := os.WriteFile(file, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Load(e); !errors.Is(err, spool.ErrCorrupt) {
				t.Fatalf("load: %v, want ErrCorrupt", err)
			}
			if st := status(t, dir); st.Corrupt != 1 || st.Counts.Corrupt != 1 || st.Waiting != 1 {
				t.Errorf("status %+v", st)
			}
			if gaps := spoolGaps(read(t, s, add(t, s, "a"))); len(gaps) != 1 || !strings.HasPrefix(gaps[0], "corrupt: 1 ") {
				t.Errorf("gaps %q", gaps)
			}
		})
	}
}

func TestLostLedgerJumpsAndResendsInFull(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"missing": os.Remove,
		"torn":    func(p string) error { return os.Truncate(p, 20) },
		"one_bit": func(p string) error {
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			data[len(data)-3] ^= 1
			return os.WriteFile(p, data, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "spool")
			s := open(t, dir, spool.Limits{})
			settle(t, s, receipt(schema.ReceiptAccepted, add(t, s, "a")), spool.Accepted)
			last := add(t, s, "a")
			if err := damage(filepath.Join(dir, "ledger")); err != nil {
				t.Fatal(err)
			}
			if st := status(t, dir); st.Fault == "" || st.Waiting != 1 {
				t.Errorf("status does not say so: %+v", st)
			}
			s = open(t, dir, spool.Limits{})
			e := add(t, s, "a")
			r := read(t, s, e)
			if e.Sequence != 2+1<<20+1 || r.Previous != last.ID || len(r.Bodies) != 1 || len(spoolGaps(r)) != 2 {
				t.Errorf("sequence %d, previous %q, %d bodies, gaps %q", e.Sequence, r.Previous, len(r.Bodies), spoolGaps(r))
			}
			if diff := cmp.Diff([]uint64{2, e.Sequence}, sequences(t, s)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNewKeyStartsItsOwnChain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	old := add(t, open(t, dir, spool.Limits{}), "a")
	s, err := spool.Open(dir, public(testKey(1)), spool.Limits{Reports: 2})
	if err != nil {
		t.Fatal(err)
	}
	var last spool.Entry
	for want := range uint64(2) {
		if last, err = s.Append(report(t, "a"), testKey(1)); err != nil || last.Sequence != want+1 {
			t.Fatalf("sequence %d (%v), want %d", last.Sequence, err, want+1)
		}
	}
	// The old key's report was the oldest, though its sequence is not the lowest.
	if _, err := s.Load(old); !errors.Is(err, spool.ErrGone) {
		t.Errorf("old key's report: %v, want ErrGone", err)
	}
	if diff := cmp.Diff([]uint64{1, 2}, sequences(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestRejectedIsBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, spool.Limits{})
	for range 40 {
		settle(t, s, rejected(add(t, s, "a"), schema.ReasonRevokedKey), spool.Retired)
	}
	files, err := os.ReadDir(filepath.Join(dir, "rejected"))
	if err != nil || len(files) > 64 || len(files) < 32 {
		t.Errorf("%d files kept (%v), want 32 to 64", len(files), err)
	}
	if st := status(t, dir); st.Counts.Rejected != 40 {
		t.Errorf("counted %d, want 40", st.Counts.Rejected)
	}
}

func TestReadBeforeFirstStart(t *testing.T) {
	if _, err := spool.Read(filepath.Join(t.TempDir(), "spool")); !errors.Is(err, spool.ErrNone) {
		t.Errorf("error %v, want ErrNone", err)
	}
}
