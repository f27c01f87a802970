package lineage_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/lineage"
	"github.com/patchproof/patchproof/schema"
)

// chain makes nodes of "id<previous" at their sequence: "a1 b2<a1 c4<x".
func chain(t testing.TB, text string) []lineage.Node {
	t.Helper()
	var nodes []lineage.Node
	for i, word := range strings.Fields(text) {
		id, previous, _ := strings.Cut(word, "<")
		n := lineage.Node{ID: id, Previous: previous, Key: "k", Leaf: int64(i)}
		if _, err := fmt.Sscanf(id[1:], "%d", &n.Sequence); err != nil {
			t.Fatalf("%q: %v", word, err)
		}
		nodes = append(nodes, n)
	}
	return nodes
}

func TestTrace(t *testing.T) {
	for _, test := range []struct {
		name, chain string
		keep        string // decided after everything above
		later       string // what came after the decision
		heads       string
		why         []string
	}{
		{"one_chain", "a1 a2<a1 a3<a2", "", "", "a3", nil},
		{"a_gap", "a1 a2<a1 a5<x", "", "", "a5", nil},
		{"begins_late", "a7<x a8<a7", "", "", "a8", nil},
		{"late_arrival_fills_a_gap", "a1 a3<a2 a2<a1", "", "", "a3", nil},
		{"lost_ledger", "a1 a2<a1 a90<a2", "", "", "a90", nil},
		{"lost_predecessor_too", "a1 a2<a1 a90<0", "", "", "a90", nil},
		{
			"fork", "a1 a2<a1 b2<a1 b3<b2", "", "", "b3 a2",
			[]string{"reports 2 (a2) and 2 (b2) both follow report 1 (a1)", "sequence 2 was used for two reports, a2 and b2"},
		},
		{"two_first_reports", "a1 b1", "", "", "b1 a1", []string{"sequence 1 was used for two reports, a1 and b1"}},
		{
			"set_back_to_an_older_state", "a1 a2<a1 a3<a2 b3<a2 b4<b3", "", "", "b4 a3",
			[]string{"reports 3 (a3) and 3 (b3) both follow report 2 (a2)", "sequence 3 was used for two reports, a3 and b3"},
		},
		{"broken_chain", "a1 a2<a1 b3<x", "", "", "b3 a2", []string{"report 3 (b3) does not name report 2 (a2) as the one before"}},
		{"backwards", "a5<x a4<a5", "", "", "a5 a4", []string{
			"report 4 (a4) names report 5 (a5) as the one before", "report 5 (a5) does not name report 4 (a4) as the one before",
		}},
		{
			"a_gap_after_a_fork_continues_neither", "a1 a2<a1 b2<a1 c9<x", "", "", "c9 b2 a2",
			[]string{
				"report 9 (c9) may continue any of 2 lines",
				"reports 2 (a2) and 2 (b2) both follow report 1 (a1)", "sequence 2 was used for two reports, a2 and b2",
			},
		},
		{"kept", "a1 a2<a1 b2<a1 b3<b2", "a2", "", "a2", nil},
		{"kept_and_goes_on", "a1 a2<a1 b2<a1 b3<b2", "a2", "a3<a2 a4<a3", "a4", nil},
		{"kept_and_a_gap", "a1 a2<a1 b2<a1 b3<b2", "a2", "a6<x", "a6", nil},
		{"set_aside_and_goes_on", "a1 a2<a1 b2<a1 b3<b2", "a2", "b4<b3", "b4 a2", []string{"report 4 (b4) continues a line that was set aside"}},
		{"kept_by_a_report_on_both", "a1 a2<a1 b2<a1", "a1", "", "b2 a2", []string{
			"reports 2 (a2) and 2 (b2) both follow report 1 (a1)", "sequence 2 was used for two reports, a2 and b2",
		}},
		{"kept_by_one_that_is_not_there", "a1 b1", "x9", "", "b1 a1", []string{"sequence 1 was used for two reports, a1 and b1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			nodes := chain(t, test.chain)
			var decisions []lineage.Decision
			if test.keep != "" {
				decisions = []lineage.Decision{{Keep: test.keep, Leaf: int64(len(nodes))}}
			}
			for _, n := range chain(t, test.later) {
				n.Leaf += int64(len(nodes)) + 1
				nodes = append(nodes, n)
			}
			p := lineage.Trace(nodes, decisions)
			if got := strings.Join(p.Heads, " "); got != test.heads {
				t.Errorf("heads %q, want %q", got, test.heads)
			}
			if d := cmp.Diff(test.why, p.Why); d != "" && len(test.why)+len(p.Why) > 0 {
				t.Errorf("why (-want +got):\n%s", d)
			}
			if p.Suspect() != lineage.Suspected(p.Gaps()) {
				t.Error("the gaps say something else than the picture")
			}
		})
	}
}

const u1, u2 = "ec2a1b2c-0000-0000-0000-000000000001", "ec2a1b2c-0000-0000-0000-000000000002"

// A chain that goes on elsewhere is two lines: the state of the first machine
// stands beside that of the second.
func TestOneKeyOnTwoMachines(t *testing.T) {
	i1, i2 := schema.Machine{Instance: "ec2/i-1"}, schema.Machine{Instance: "ec2/i-2"}
	for name, test := range map[string]struct {
		machines []schema.Machine
		heads    string
		suspect  bool
	}{
		"one_instance":               {[]schema.Machine{i1, i1, i1}, "a3", false},
		"taken_over":                 {[]schema.Machine{i1, i2, i2}, "a3 a1", true},
		"metadata_service_away":      {[]schema.Machine{i1, {}, i1}, "a3", false},
		"moved_to_other_hardware":    {[]schema.Machine{{Instance: "ec2/i-1", ProductUUID: u1}, {ProductUUID: u2}, {Instance: "ec2/i-1", ProductUUID: u2}}, "a3", false},
		"two_instances_of_one_uuid":  {[]schema.Machine{{Instance: "ec2/i-1", ProductUUID: u1}, {ProductUUID: u1}, {Instance: "ec2/i-2", ProductUUID: u1}}, "a3", true},
		"another_uuid":               {[]schema.Machine{{ProductUUID: u1}, {ProductUUID: u1}, {ProductUUID: u2}}, "a3 a2", true},
		"machine_id_at_each_boot":    {[]schema.Machine{{ProductUUID: u1, MachineID: "1"}, {ProductUUID: u1, MachineID: "2"}, {MachineID: "3"}}, "a3", false},
		"machine_id_is_all_there_is": {[]schema.Machine{{MachineID: "1"}, {MachineID: "1"}, {MachineID: "2"}}, "a3 a2", true},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := chain(t, "a1 a2<a1 a3<a2")
			for i := range nodes {
				nodes[i].Machine = test.machines[i]
			}
			p := lineage.Trace(nodes, nil)
			if got := strings.Join(p.Heads, " "); got != test.heads || p.Suspect() != test.suspect {
				t.Errorf("heads %q, suspect %v (%v); want %q, %v", got, p.Suspect(), p.Why, test.heads, test.suspect)
			}
			if lineage.Moved(test.machines) != test.suspect {
				t.Errorf("moved: %v", !test.suspect)
			}
		})
	}
	var many []schema.Machine
	for n := range 40 {
		many = append(many, schema.Machine{MachineID: fmt.Sprintf("%032d", n)})
	}
	if !lineage.Moved(many) {
		t.Error("forty machines are one")
	}
}

// A host that is given a new key speaks with that one from then on.
func TestNewKeyTakesOver(t *testing.T) {
	nodes := chain(t, "a1 a2<a1 b1 b2<b1")
	nodes[2].Key, nodes[3].Key = "new", "new"
	p := lineage.Trace(nodes, nil)
	if strings.Join(p.Heads, " ") != "b2" || p.Suspect() {
		t.Errorf("heads %v, why %v", p.Heads, p.Why)
	}
	if d := cmp.Diff([][]string{{"a1"}, {"a2"}, {"b1"}, {"b2"}}, p.Order); d != "" {
		t.Errorf("order (-want +got):\n%s", d)
	}
}

func TestLine(t *testing.T) {
	nodes := chain(t, "a1 a2<a1 b2<a1 b3<b2")
	if got, err := lineage.Line(nodes, nil, "b2"); err != nil || !slices.Equal(got, []string{"a1", "b2", "b3"}) {
		t.Errorf("line %v, %v", got, err)
	}
	for id, want := range map[string]string{"a1": "is on 2 lines, which end at b3, a2", "x": "is none of this host's"} {
		if _, err := lineage.Line(nodes, nil, id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", id, err, want)
		}
	}
}

// The picture is the same whatever order reports came in, every report that
// counts stands under some head, no decision on one line leaves two, and nothing
// of an honest chain, whatever of it was lost, is suspicious.
func TestTraceProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var nodes []lineage.Node
		n := rapid.IntRange(1, 12).Draw(t, "reports")
		for i := range n {
			node := lineage.Node{ID: fmt.Sprintf("r%02d", i), Key: "k", Leaf: int64(i), Sequence: 1}
			if i > 0 && rapid.IntRange(0, 9).Draw(t, "root") > 0 {
				parent := nodes[rapid.IntRange(max(0, i-3), i-1).Draw(t, "parent")]
				node.Previous, node.Sequence = parent.ID, parent.Sequence+1
			}
			node.Machine.Instance = rapid.SampledFrom([]string{"", "ec2/i-1", "ec2/i-1", "ec2/i-2"}).Draw(t, "machine")
			nodes = append(nodes, node)
		}
		held := slices.DeleteFunc(slices.Clone(nodes), func(lineage.Node) bool { return rapid.IntRange(0, 4).Draw(t, "lost") == 0 })
		p := lineage.Trace(held, nil)
		shuffled := rapid.Permutation(held).Draw(t, "order")
		if d := cmp.Diff(p, lineage.Trace(shuffled, nil)); d != "" {
			t.Fatalf("another order, another picture:\n%s", d)
		}
		standing, ordered := map[string]bool{}, 0
		for _, head := range p.Heads {
			standing[head] = true
		}
		for _, group := range p.Order {
			ordered += len(group)
		}
		if ordered != len(held) || len(held) > 0 && len(standing) == 0 {
			t.Fatalf("%d of %d reports are in order, heads %v", ordered, len(held), p.Heads)
		}
		if len(p.Heads) > 1 && !p.Suspect() {
			t.Fatalf("several lines and no suspicion: %+v", p)
		}
		if len(p.Heads) > 0 {
			keep := rapid.SampledFrom(p.Heads).Draw(t, "keep")
			after := lineage.Trace(held, []lineage.Decision{{Keep: keep, Leaf: int64(n)}})
			if !slices.Equal(after.Heads, []string{keep}) {
				t.Fatalf("kept %s, heads %v", keep, after.Heads)
			}
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		var nodes []lineage.Node
		previous := ""
		for i := range rapid.IntRange(1, 20).Draw(t, "reports") {
			n := lineage.Node{ID: fmt.Sprintf("r%02d", i), Key: "k", Leaf: int64(i), Sequence: uint64(i) + 1, Previous: previous}
			previous = n.ID
			if rapid.Bool().Draw(t, "held") {
				nodes = append(nodes, n)
			}
		}
		p := lineage.Trace(nodes, nil)
		if p.Suspect() || len(p.Heads) > 1 {
			t.Fatalf("an honest chain of %v: heads %v, %v", slices.Sorted(maps.Keys(p.Follows)), p.Heads, p.Why)
		}
	})
}

func FuzzTrace(f *testing.F) {
	f.Add("a1 a2<a1 b2<a1", "a2", int64(2))
	f.Add("a5<x a4<a5 a3<a3", "a3", int64(9))
	f.Fuzz(func(t *testing.T, text, keep string, leaf int64) {
		var nodes []lineage.Node
		seen := map[string]bool{}
		for i, word := range strings.Fields(text) {
			id, previous, _ := strings.Cut(word, "<")
			if i > 200 || id == "" || seen[id] {
				continue
			}
			seen[id] = true
			nodes = append(nodes, lineage.Node{ID: id, Previous: previous, Key: id[:1], Sequence: uint64(len(id)), Leaf: int64(i)})
		}
		p := lineage.Trace(nodes, []lineage.Decision{{Keep: keep, Leaf: leaf}})
		counted := len(p.Aside)
		for _, group := range p.Order {
			counted += len(group)
		}
		if counted != len(nodes) {
			t.Fatalf("%d of %d reports are told of", counted, len(nodes))
		}
	})
}
