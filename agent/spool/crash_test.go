package spool_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/patchproof/patchproof/agent/spool"
	"github.com/patchproof/patchproof/schema"
)

// crashDir makes the test binary behave as an agent that works on the spool in
// this directory until it is killed.
const crashDir = "PATCHPROOF_SPOOL_CRASH"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		rounds, err := strconv.Atoi(os.Getenv(crashDir + "_ROUNDS"))
		if err == nil {
			err = work(dir, rounds)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// work appends and settles, and writes to the journal what the world may rely
// on: a line before a receipt is applied, a line after Append has returned.
func work(dir string, rounds int) error {
	runtime.LockOSThread() // strace counts calls by thread
	journal, err := os.OpenFile(filepath.Join(dir, "journal"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	s, err := spool.Open(filepath.Join(dir, "spool"), public(testKey(0)), spool.Limits{})
	if err != nil {
		return err
	}
	for i := range rounds {
		r := &schema.Report{
			CollectedAt: time.Now(), TransportKey: transportKey, Agent: schema.Agent{Version: "test"},
			Gaps: []schema.Gap{{Extractor: "test", Kind: schema.GapUnreadable, Detail: strconv.Itoa(rand.Int())}},
		}
		e, err := s.Append(r, testKey(0))
		if err != nil {
			return err
		}
		fmt.Fprintf(journal, "sealed %d %s\n", e.Sequence, e.ID)
		if i%3 != 2 {
			continue
		}
		entries, err := s.Pending()
		if err != nil {
			return err
		}
		e = entries[rand.IntN(len(entries))]
		kind := receipt(schema.ReceiptAccepted, e)
		if i%2 == 0 {
			kind = rejected(e, schema.ReasonRevokedKey)
		}
		fmt.Fprintf(journal, "settled %d %s\n", e.Sequence, e.ID)
		if _, err := s.Settle([]byte("raw"), kind); err != nil {
			return err
		}
	}
	return nil
}

// history is what the journal tells, over all crashes.
type history struct {
	sealed, settled map[uint64]string
}

func readJournal(t *testing.T, dir string) history {
	t.Helper()
	h := history{sealed: map[uint64]string{}, settled: map[uint64]string{}}
	f, err := os.Open(filepath.Join(dir, "journal"))
	if os.IsNotExist(err) {
		return h
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var what, id string
		var sequence uint64
		if n, _ := fmt.Sscan(lines.Text(), &what, &sequence, &id); n != 3 || len(id) != 64 {
			continue // the kill cut this line: it was never relied on
		}
		into := h.settled
		if what == "sealed" {
			into = h.sealed
		}
		if before, ok := into[sequence]; ok && before != id {
			t.Fatalf("sequence %d was %s twice: %s and %s", sequence, what, before, id)
		}
		into[sequence] = id
	}
	return h
}

// check opens the spool after a crash and holds its invariants.
func check(t *testing.T, dir string) {
	t.Helper()
	h := readJournal(t, dir)
	s := open(t, filepath.Join(dir, "spool"), spool.Limits{})
	entries, err := s.Pending()
	if err != nil {
		t.Fatal(err)
	}
	waiting, known := map[uint64]string{}, map[uint64]string{}
	var last uint64
	for _, e := range entries {
		if _, ok := waiting[e.Sequence]; ok {
			t.Fatalf("sequence %d waits twice", e.Sequence)
		}
		waiting[e.Sequence], known[e.Sequence] = e.ID, e.ID
		if id, ok := h.sealed[e.Sequence]; ok && id != e.ID {
			t.Fatalf("sequence %d was sealed as %s and waits as %s", e.Sequence, id, e.ID)
		}
		last = max(last, e.Sequence)
	}
	for sequence, id := range h.sealed {
		known[sequence] = id
		last = max(last, sequence)
		if waiting[sequence] == "" && h.settled[sequence] == "" {
			t.Fatalf("sealed report %d is lost", sequence)
		}
	}
	for sequence := range last {
		if known[sequence+1] == "" && h.settled[sequence+1] == "" {
			t.Fatalf("sequence %d was used for nothing", sequence+1)
		}
	}
	for _, e := range entries {
		r := read(t, s, e)
		if r.Sequence != e.Sequence || (known[e.Sequence-1] != "" && r.Previous != known[e.Sequence-1]) {
			t.Fatalf("report %d says sequence %d after %q, want after %q", e.Sequence, r.Sequence, r.Previous, known[e.Sequence-1])
		}
	}
	checkLeftovers(t, filepath.Join(dir, "spool"))
	if st := status(t, filepath.Join(dir, "spool")); st.Counts.Corrupt+st.Counts.Dropped+st.Counts.Jumps != 0 {
		t.Fatalf("a crash cost something: %+v", st.Counts)
	}
}

func checkLeftovers(t *testing.T, dir string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".tmp-") || strings.HasSuffix(f.Name(), ".sealed") {
			t.Fatalf("%s was left behind", f.Name())
		}
	}
}

func crasher(dir string, rounds int, wrapper ...string) *exec.Cmd {
	args := slices.Concat(wrapper, []string{os.Args[0]})
	cmd := exec.Command(args[0], args[1:]...)
	// A race-detecting binary otherwise sleeps a second before it ends.
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashDir+"_ROUNDS="+strconv.Itoa(rounds), "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	return cmd
}

// TestKilledAtRandom kills a working agent 25 times, each time after another
// while, on one spool.
func TestKilledAtRandom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 25 {
		cmd := crasher(dir, 1<<20)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(10+rand.IntN(120)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the agent ended before it was killed")
		}
		check(t, dir)
	}
	if n := len(readJournal(t, dir).sealed); n < 25 {
		t.Errorf("only %d reports sealed in 25 lives: nothing was tested", n)
	}
}

// TestKilledAtEverySystemCall kills an agent on its first, second, ... call
// that changes the directory, each time on a fresh spool.
func TestKilledAtEverySystemCall(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is missing; install the distribution's package `strace`")
	}
	killed := 0
	for _, call := range []string{"fsync", "renameat", "unlinkat", "mkdirat"} {
		n := killAtEach(t, strace, call)
		t.Logf("%s: killed at %d calls", call, n)
		killed += n
	}
	if killed < 30 {
		t.Errorf("killed at %d calls, expected at least 30: the trace misses them", killed)
	}
}

// killAtEach kills an agent when it makes the call for the n-th time, for every
// n there is, and returns how many there were.
func killAtEach(t *testing.T, strace, call string) int {
	for n := 1; ; n++ {
		dir := t.TempDir()
		cmd := crasher(dir, 6, strace, "-f", "-qqq", "-o", os.DevNull, "-e", "trace="+call,
			"-e", "inject="+call+":signal=SIGKILL:when="+strconv.Itoa(n))
		if err := cmd.Run(); err == nil {
			return n - 1
		}
		if n > 200 {
			t.Fatalf("strace fails whatever the call: %v", cmd.Args)
		}
		check(t, dir)
		// The next life goes on from there and comes to the end.
		if err := crasher(dir, 6).Run(); err != nil {
			t.Fatalf("after a kill at %s %d: %v", call, n, err)
		}
		check(t, dir)
	}
}

// TestTornFiles leaves what a power cut could: half-written temporary files and
// staged reports the ledger does not know.
func TestTornFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, spool.Limits{})
	e := add(t, s, "a")
	raw, err := s.Load(e)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		".tmp-ABCDEF": raw[:100],
		fmt.Sprintf("0000-%020d-%s.sealed", 2, strings.Repeat("ab", 32)): raw[:len(raw)/2],
		"0000-nonsense.json": raw,
		"README":             []byte("hello"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir, spool.Limits{})
	checkLeftovers(t, dir)
	if next := add(t, s, "a"); next.Sequence != 2 {
		t.Errorf("sequence %d, want 2: the torn report was never committed", next.Sequence)
	}
	if got := sequences(t, s); len(got) != 2 {
		t.Errorf("waiting %v", got)
	}
}
