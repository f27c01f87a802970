package estate_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/store"
)

// TestAnActOnAWholeEstate holds what an act on a whole estate may take: it has the
// one writing transaction for that long, and reports wait.
func TestAnActOnAWholeEstate(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a database")
	}
	const n = 2_000
	s := newScene(t)
	s.fill(n)
	var csv strings.Builder
	csv.WriteString("instance_id,account,tag:env,tag:team,owner\n")
	for i := range n {
		fmt.Fprintf(&csv, "i-%05d,111111111111,%s,team%d,owner%d\n", i, []string{"prod", "dev"}[i%2], i%50, i%20)
	}
	timed := func(what string, most time.Duration, f func()) {
		t.Helper()
		from, begun := processor(t), time.Now()
		f()
		took := processor(t) - from // the wall clock says how busy the machine is
		t.Logf("%s: %s of the processor, %s in all", what, took.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
		if took > most {
			t.Errorf("%s took %s, want at most %s", what, took, most)
		}
	}
	timed("first derivation", 20*time.Second, func() { s.rules(envRules) })
	timed("import that changes all", 20*time.Second, func() {
		if a := s.list("cmdb", csv.String()); a.Matched != n || a.Changed != n {
			t.Errorf("got %+v", a)
		}
	})
	timed("import that changes nothing", 10*time.Second, func() {
		if a := s.list("cmdb", csv.String()+"\n"); a.Matched != n || a.Changed != 0 {
			t.Errorf("got %+v", a)
		}
	})
	ids := make([]string, 32)
	for i := range ids {
		ids[i] = fmt.Sprintf("A%05d", i)
	}
	timed("refresh without news", time.Second, func() { s.refresh(ids...) })
	timed("refresh of one asset that claims something new", 5*time.Second, func() {
		s.report("A00001", classify.Claims{InstanceID: "i-00001", Labels: map[string]string{"core": "true"}})
	})
	timed("coverage", 10*time.Second, func() {
		if c, err := s.q.Coverage(t.Context(), 0); err != nil || c.Reporting != n {
			t.Errorf("got %d reporting (%v), want %d", c.Reporting, err, n)
		}
	})
}

func processor(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fill makes assets that have reported.
func (s *scene) fill(n int) {
	s.Helper()
	for i := range n {
		id := fmt.Sprintf("A%05d", i)
		a := store.Asset{ID: id, Name: "host-" + id, Key: key(id), TrustedAt: s.now}
		if _, err := s.st.TrustKey(s.Context(), a, store.Leaf{Kind: "trust", At: s.now, Body: []byte("{}")}); err != nil {
			s.Fatal(err)
		}
		s.accept(id, classify.Claims{InstanceID: fmt.Sprintf("i-%05d", i), Account: "111111111111"})
	}
}
