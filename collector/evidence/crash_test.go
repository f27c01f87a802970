package evidence_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
	"github.com/patchproof/patchproof/collector/trust"
)

// crashDir names the directory a child of TestKill works in.
const crashDir = "PATCHPROOF_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		os.Exit(child(dir))
	}
	os.Exit(m.Run())
}

// child is a collector that never rests: it accepts reports, records
// assessments and signs checkpoints until it is killed. It prints every report
// it was told is accepted.
func child(dir string) int {
	t := &crashT{}
	s := &scene{t: t, dir: dir, hosts: map[string]*host{}}
	keys, err := trust.OpenKeys(filepath.Join(dir, "keys"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s.keys = keys
	s.open()
	l := s.log()
	s.resumeHosts()
	for n := 0; ; n++ {
		for _, id := range []string{"A1", "A2"} {
			r := s.next(s.hosts[id], packages(t, 5, fmt.Sprint(n)))
			fmt.Println(r.ID, s.accept(r))
		}
		s.assess(fmt.Sprint("CVE-2026-", n%7))
		if n%3 == 0 {
			s.integrate(l)
		}
	}
}

// resumeHosts trusts the hosts, or goes on where they were.
func (s *scene) resumeHosts() {
	ctx := s.t.Context()
	for _, id := range []string{"A1", "A2"} {
		if _, err := s.store.Asset(ctx, id); err != nil {
			s.trust(id)
			continue
		}
		h := hostOf(id)
		states, err := s.store.States(ctx, id, 0)
		if err != nil {
			s.t.Fatal(err)
		}
		if n := len(states); n > 0 {
			h.sequence, h.previous = states[n-1].Sequence, states[n-1].ID
		}
		s.hosts[id] = h
	}
}

// crashT is a testing.TB for the child, which ends at the first error.
type crashT struct{ testing.TB }

func (*crashT) Helper()                  {}
func (*crashT) Context() context.Context { return context.Background() }
func (*crashT) Cleanup(func())           {}
func (*crashT) Fatal(args ...any) {
	fmt.Fprintln(os.Stderr, args...)
	os.Exit(1)
}

func (t *crashT) Fatalf(format string, args ...any) { t.Fatal(fmt.Sprintf(format, args...)) }

// TestKill kills a collector at random points and holds what is left against
// what it had said.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys := must[*trust.Keys](t)(trust.OpenKeys(filepath.Join(dir, "keys")))
	rng := rand.New(rand.NewPCG(5, 6))
	told := map[string]int64{}
	kills := 0
	for range 24 {
		kills++
		// One in four dies while it starts.
		killOne(t, dir, time.Duration(rng.IntN(200))*time.Millisecond, kills%4 == 0, told)
		checkAfterKill(t, dir, keys, told)
	}
	if len(told) < kills {
		t.Errorf("only %d reports were accepted in %d runs: the kills came too early to show anything", len(told), kills)
	}
}

// killOne runs a child and kills it some time after its start, or after the
// first report it accepted.
func killOne(t *testing.T, dir string, after time.Duration, starting bool, told map[string]int64) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := func() { _ = cmd.Process.Kill() }
	if starting {
		time.AfterFunc(after/4, kill)
	}
	lines := bufio.NewScanner(out)
	for first := !starting; lines.Scan(); first = false {
		var id string
		var index int64
		if n, _ := fmt.Sscan(lines.Text(), &id, &index); n == 2 {
			told[id] = index
		}
		if first {
			time.AfterFunc(after, kill)
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() == 1 {
		t.Fatalf("the child ended by itself: %v", err)
	}
}

func checkAfterKill(t *testing.T, dir string, keys *trust.Keys, told map[string]int64) {
	t.Helper()
	st := must[*sqlstore.Store](t)(sqlstore.Open(t.Context(), filepath.Join(dir, "patchproof.db")))
	defer func() { _ = st.Close() }()
	head := filepath.Join(dir, "log.head")
	l := must[*evidence.Log](t)(evidence.OpenLog(t.Context(), evidence.Options{
		Store: st, Signer: keys.Log, Verifier: keys.LogVerifier, HeadFile: head, Now: func() time.Time { return now },
	}))
	if l.Epoch() != 1 {
		t.Fatalf("a kill was taken for a restored backup: epoch %d", l.Epoch())
	}
	if _, err := l.Integrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for from := int64(0); ; {
		leaves := must[[]store.Leaf](t)(st.Leaves(t.Context(), from, 1000))
		if len(leaves) == 0 {
			break
		}
		for _, leaf := range leaves {
			kinds[leaf.Kind]++
		}
		from += int64(len(leaves))
	}
	rows := map[string]int64{}
	if err := st.EachReport(t.Context(), func(r store.Report) error { rows[r.ID] = r.LeafIndex; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(rows) != kinds[evidence.KindReport] || kinds[evidence.KindTrust] != len(must[[]store.Asset](t)(st.Assets(t.Context()))) {
		t.Errorf("%d reports and leaves %v", len(rows), kinds)
	}
	for id, index := range told {
		if got, ok := rows[id]; !ok || got != index {
			t.Errorf("report %s was accepted at leaf %d and is now at %d (%v)", id, index, got, ok)
		}
	}
	r := must[evidence.Report](t)(evidence.Verifier{Store: st, Key: keys.LogVerifier, HeadFile: head}.Verify(t.Context()))
	if !r.OK || len(r.Breaks) > 0 {
		t.Errorf("after a kill:\n%s", r.Summary())
	}
}
