package e2e_test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// crashRounds is how often something is killed; PATCHPROOF_TEST_CRASH_ROUNDS is another number.
const crashRounds = 20

// crashAgents report to one collector, so that a kill finds more under way.
const crashAgents = 3

// How long programs live before the next kill: every other time they are cut
// down while they start, scan, seal, send and settle, which takes an agent some
// 50 ms, else at any time up to well after the last receipt.
const (
	shortLife = 100 * time.Millisecond
	longLife  = 900 * time.Millisecond
)

// TestCrashTwentyTimes kills an agent, the collector or everything at random
// points, starts it again at once, and holds that nothing is lost and nothing
// double: every report an agent has sealed is on record once, without a gap.
func TestCrashTwentyTimes(t *testing.T) {
	c := newCollector(t)
	var agents []*hostAgent
	for range crashAgents {
		a := newAgent(t, c)
		a.start()
		trust(t, c, a)
		agents = append(agents, a)
	}

	seed := seedOf(t)
	t.Logf("PATCHPROOF_TEST_CRASH_SEED=%d repeats the choices", seed)
	crash(t, rand.New(rand.NewPCG(seed, 0)), c, agents)

	c.ready()
	states := make([]agentStatus, len(agents))
	for i, a := range agents {
		for end := time.Now().Add(time.Minute); !states[i].settled(); time.Sleep(50 * time.Millisecond) {
			a.alive()
			c.alive()
			states[i] = a.status()
			if time.Now().After(end) {
				t.Fatalf("not everything sealed is receipted after a minute\n%s\nagent: %s\ncollector: %s", a.ask("status").stdout, a.tail(), c.tail())
			}
		}
		a.stop()
	}
	holdFindings(t, c, len(agents))
	c.stop()
	holdOnRecord(t, c, states)
	for i, a := range agents {
		holdNothingLost(t, states[i])
		if left := spooled(t, a); len(left) > 0 {
			t.Errorf("the spool holds %v, want nothing", left)
		}
	}
}

// crash kills and starts again, round after round.
func crash(t *testing.T, rng *rand.Rand, c *collector, agents []*hostAgent) {
	t.Helper()
	for round := range rounds(t) {
		life := []time.Duration{shortLife, longLife}[round%2]
		if round%3 == 0 { // an import that may be cut short; it does not matter whether it ends well
			start(t, t, filepath.Join(filepath.Dir(c.data), "import.log"), c.env(), "patchproof", "feed", "import", demoFeeds(t))
		}
		time.Sleep(time.Duration(rng.Int64N(int64(life))))
		c.alive()
		for _, a := range agents {
			a.alive()
		}
		victims := []*hostAgent{agents[rng.IntN(len(agents))]}
		what := []string{"an agent", "the collector", "everything"}[rng.IntN(3)]
		switch what {
		case "the collector":
			victims = nil
		case "everything":
			victims = agents
		}
		for _, a := range victims {
			a.kill()
		}
		if what != "an agent" {
			c.kill()
			c.start()
		}
		for _, a := range victims {
			a.start()
		}
		t.Logf("round %d: killed %s", round, what)
	}
}

// trust lets the collector believe the agent, which runs.
func trust(t *testing.T, c *collector, a *hostAgent) {
	t.Helper()
	eventually(t, 30*time.Second, "the agent's key waits for trust", func() bool {
		a.alive()
		return len(read[hostList](t, c.ask("host", "list", "-o", "json")).Pending) == 1
	})
	c.ask("host", "trust", a.status().Fingerprint, "--exposure", "internet", "--environment", "production").exits(t, 0)
	eventually(t, 30*time.Second, "the first report is receipted", func() bool { return a.status().settled() })
}

// holdFindings imports once more, whatever the cut imports have left, and holds
// that every host has the findings that dpkg says it has.
func holdFindings(t *testing.T, c *collector, hosts int) {
	t.Helper()
	c.ask("feed", "import", demoFeeds(t)).exits(t, 0)
	if release := osRelease(t); release["ID"] != "debian" || release["VERSION_ID"] != "12" {
		t.Logf("findings are not compared: this host is %s, the shipped feed is of Debian 12", release["PRETTY_NAME"])
		return
	}
	want := dpkgFindings(t, readZip(t, demoFeeds(t)))
	eventually(t, 30*time.Second, "every host has its findings", func() bool {
		got := map[string][]string{}
		for _, f := range read[findingList](t, c.ask("finding", "list", "-o", "json")).Findings {
			if !strings.HasPrefix(f.Component, "linux") {
				got[f.Asset] = append(got[f.Asset], f.Vulnerability+" "+f.Component)
			}
		}
		same := 0
		for _, list := range got {
			slices.Sort(list)
			if slices.Equal(list, want) {
				same++
			}
		}
		return len(got) == same && (same == hosts || len(want) == 0)
	})
}

// holdNothingLost holds an agent's own account.
func holdNothingLost(t *testing.T, s agentStatus) {
	t.Helper()
	n, counts := s.Spool.LastSealed.Sequence, s.Spool.Counts
	if counts.Sealed != n || counts.Accepted != n {
		t.Errorf("agent: %d sealed and %d receipted, want both to be the last sequence, %d", counts.Sealed, counts.Accepted, n)
	}
	if counts.Dropped+counts.Corrupt+counts.Jumps > 0 {
		t.Errorf("agent: %+v, want nothing dropped, damaged or skipped", counts)
	}
}

// holdOnRecord holds the record of a collector that was stopped.
func holdOnRecord(t *testing.T, c *collector, states []agentStatus) {
	t.Helper()
	var want []string
	for _, s := range states {
		for i := range s.Spool.LastSealed.Sequence {
			want = append(want, s.KeyID+"|"+strconv.FormatUint(i+1, 10))
		}
	}
	slices.Sort(want)
	got := query(t, c, "SELECT key, sequence FROM report")
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reports on record (-want +got):\n%s", diff)
	}
	v := read[verification](t, c.ask("evidence", "verify", "-o", "json"))
	if !v.OK || len(v.Problems) > 0 || len(v.Breaks) > 0 {
		t.Errorf("evidence: problems %v, breaks %v, want neither", v.Problems, v.Breaks)
	}
	if v.Reports != len(want) || v.Leaves != v.Covered {
		t.Errorf("evidence: %d reports, %d of %d leaves under a checkpoint; want %d reports and every leaf", v.Reports, v.Covered, v.Leaves, len(want))
	}
	leaves := query(t, c, "SELECT count(DISTINCT leaf) FROM report JOIN leaf ON leaf.idx = report.leaf")
	if diff := cmp.Diff([]string{strconv.Itoa(len(want))}, leaves); diff != "" {
		t.Errorf("leaves of reports (-want +got):\n%s", diff)
	}
	if twice := query(t, c, "SELECT asset, vulnerability, component FROM finding GROUP BY 1, 2, 3 HAVING count(*) > 1"); len(twice) > 0 {
		t.Errorf("findings that are there twice: %v", twice)
	}
	if waits := query(t, c, "SELECT digest, reason FROM quarantine"); len(waits) > 0 {
		t.Errorf("quarantine: %v, want nothing", waits)
	}
	t.Logf("%d reports on record, delivered again: %v", len(want), query(t, c, "SELECT coalesce(sum(count), 0) FROM duplicate"))
}

// query asks the database of a collector as any SQLite tool can.
func query(t *testing.T, c *collector, sql string) []string {
	t.Helper()
	out, err := exec.Command("sqlite3", "-readonly", filepath.Join(c.data, "collector.db"), sql).CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3 %q: %v\n%s", sql, err, out)
	}
	return strings.Fields(string(out))
}

// spooled lists the reports that wait in the agent's spool.
func spooled(t *testing.T, a *hostAgent) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(a.dir, "state", "spool"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if !e.IsDir() && e.Name() != "ledger" {
			out = append(out, e.Name())
		}
	}
	return out
}

func rounds(t *testing.T) int {
	t.Helper()
	return int(number(t, "PATCHPROOF_TEST_CRASH_ROUNDS", crashRounds))
}

func seedOf(t *testing.T) uint64 {
	t.Helper()
	return number(t, "PATCHPROOF_TEST_CRASH_SEED", rand.Uint64())
}

func number(t *testing.T, variable string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// demoFeeds is the dated snapshot that the repository ships.
func demoFeeds(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../demo/feeds")
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "osv-debian-12.zip")
}
