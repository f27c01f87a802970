// Package lineage tells how the reports of one host follow each other, and
// whether two hosts speak with one key.
//
// A host that nobody copied seals one chain: each report names the one before,
// and takes its place. A copied key, or a host set back to an older state, makes
// the chain fork; both lines then count, each with its newest report, until an
// operator says which is the host's.
//
// Invariants:
//   - The answer follows from the set of reports and decisions. The order in which
//     reports arrived leaves no trace.
//   - A report takes the place of another only when it is known to follow it: when
//     it names it, or when it is the only one that can have come after it through
//     reports that never arrived. In doubt both count.
//   - What a decision sets aside stays on record; whatever continues it raises the
//     suspicion again.
package lineage

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/patchproof/patchproof/schema"
)

// Gaps that tell of a suspicion.
const (
	Extractor = "lineage"
	// CloneSuspect is the kind of gap, and the state of the asset.
	CloneSuspect = "clone_suspect"
)

// Node is what of a report places it among the others of its host.
type Node struct {
	ID, Previous string
	// Key is the evidence key that sealed it, as its id.
	Key      string
	Sequence uint64
	// Leaf is its place in the evidence log: decisions speak of what was there.
	Leaf    int64
	Machine schema.Machine
}

// Decision is an operator's word on a suspicion.
type Decision struct {
	// Keep is a report of the line that is the host's.
	Keep string
	// Leaf is the decision's place in the evidence log.
	Leaf int64
}

// Picture is how the reports of a host follow each other.
type Picture struct {
	// Follows gives, for each report that counts, those whose place it takes. One
	// that takes none begins a line.
	Follows map[string][]string
	// Aside are the reports that decisions set aside.
	Aside map[string]bool
	// Order lists the reports that count as they take effect; those of one sequence
	// take effect together.
	Order [][]string
	// Heads are the newest reports of the lines that count, highest sequence first.
	Heads []string
	// Why says what is suspicious, sorted; empty for an honest chain.
	Why []string
}

// Suspect reports whether two hosts may be speaking with one key.
func (p *Picture) Suspect() bool { return len(p.Why) > 0 }

// Gaps tells why a host is suspected, for the list of what nobody can be sure of.
func (p *Picture) Gaps() []schema.Gap {
	gaps := make([]schema.Gap, len(p.Why))
	for i, why := range p.Why {
		gaps[i] = schema.Gap{Extractor: Extractor, Kind: CloneSuspect, Detail: why}
	}
	return gaps
}

// Forked reports whether nodes of some key are not one line: two of a sequence
// or of a predecessor, or neighbours that do not follow each other.
func Forked(nodes []Node) bool {
	for i, a := range nodes {
		for _, b := range nodes[i+1:] {
			if contradict(a, b) || contradict(b, a) {
				return true
			}
		}
	}
	return false
}

// MovedIn reports whether the reports of some key speak of machines that are not one.
func MovedIn(nodes []Node) bool {
	machines := map[string][]schema.Machine{}
	for _, n := range nodes {
		machines[n.Key] = append(machines[n.Key], n.Machine)
	}
	for _, seen := range machines {
		if Moved(seen) {
			return true
		}
	}
	return false
}

func contradict(a, b Node) bool {
	if a.Key != b.Key {
		return b.Previous == a.ID
	}
	return a.Sequence == b.Sequence || a.Previous == b.Previous && a.Previous != "" ||
		b.Sequence == a.Sequence+1 && b.Previous != a.ID || b.Previous == a.ID && b.Sequence <= a.Sequence
}

// Suspected reports whether the gaps of an asset tell of a suspicion.
func Suspected(gaps []schema.Gap) bool {
	return slices.ContainsFunc(gaps, func(g schema.Gap) bool { return g.Extractor == Extractor && g.Kind == CloneSuspect })
}

// maxWhy bounds what is told: whoever has a key can make any number of forks.
const maxWhy = 20

// Trace reads the picture out of all reports and decisions of a host.
func Trace(nodes []Node, decisions []Decision) Picture {
	nodes = slices.SortedFunc(slices.Values(nodes), compare)
	aside := map[string]bool{}
	for _, d := range slices.SortedFunc(slices.Values(decisions), func(a, b Decision) int { return cmp.Compare(a.Leaf, b.Leaf) }) {
		setAside(nodes, aside, d)
	}
	t := newTrace(nodes, aside)
	t.run()
	return t.picture()
}

// Line returns the reports of the line that a report is on, or an error that
// names the lines when it is on several.
func Line(nodes []Node, decisions []Decision, id string) ([]string, error) {
	p := Trace(nodes, decisions)
	if _, ok := p.Follows[id]; !ok {
		return nil, fmt.Errorf("report %s is none of this host's that count", id)
	}
	var on []string
	for _, head := range p.Heads {
		if line := p.back(head); line[id] {
			on = append(on, head)
		}
	}
	if len(on) > 1 {
		return nil, fmt.Errorf("report %s is on %d lines, which end at %s: name one of these", id, len(on), strings.Join(on, ", "))
	}
	return slices.Sorted(maps.Keys(p.back(on[0]))), nil
}

// back is a report and all before it.
func (p *Picture) back(id string) map[string]bool {
	line, todo := map[string]bool{}, []string{id}
	for len(todo) > 0 {
		id, todo = todo[len(todo)-1], todo[:len(todo)-1]
		if !line[id] {
			line[id] = true
			todo = append(todo, p.Follows[id]...)
		}
	}
	return line
}

// Own returns the reports of a head's line that no other line has, in order.
func (p *Picture) Own(head string) []string {
	own := p.back(head)
	for _, other := range p.Heads {
		if other != head {
			for id := range p.back(other) {
				delete(own, id)
			}
		}
	}
	var list []string
	for _, group := range p.Order {
		for _, id := range group {
			if own[id] {
				list = append(list, id)
			}
		}
	}
	return list
}

// setAside adds what a decision does not keep. One on a report that is not there,
// or on several lines, sets nothing aside: it decides nothing.
func setAside(nodes []Node, aside map[string]bool, d Decision) {
	var then []Node
	for _, n := range nodes {
		if n.Leaf < d.Leaf {
			then = append(then, n)
		}
	}
	t := newTrace(then, aside)
	t.run()
	p := t.picture()
	keep := map[string]bool{}
	lines := 0
	for _, head := range p.Heads {
		if line := p.back(head); line[d.Keep] {
			keep, lines = line, lines+1
		}
	}
	if lines != 1 {
		return
	}
	for _, n := range then {
		if !keep[n.ID] {
			aside[n.ID] = true
		}
	}
}

func compare(a, b Node) int {
	return cmp.Or(cmp.Compare(a.Sequence, b.Sequence), strings.Compare(a.ID, b.ID))
}

// trace is one reading.
type trace struct {
	nodes    []Node // that count, sorted
	all      map[string]Node
	aside    map[string]bool
	machines map[string]*machines // by key
	keys     []string             // in order of their first report

	follows map[string][]string
	taken   map[string]string // report -> the first that took its place
	why     map[string]bool
}

func newTrace(nodes []Node, aside map[string]bool) *trace {
	t := &trace{
		all: map[string]Node{}, aside: aside, machines: map[string]*machines{},
		follows: map[string][]string{}, taken: map[string]string{}, why: map[string]bool{},
	}
	first := map[string]int64{}
	seen := map[string][]schema.Machine{}
	for _, n := range nodes {
		t.all[n.ID] = n
		if aside[n.ID] {
			continue
		}
		t.nodes = append(t.nodes, n)
		seen[n.Key] = append(seen[n.Key], n.Machine)
		if at, ok := first[n.Key]; !ok || n.Leaf < at {
			first[n.Key] = n.Leaf
		}
	}
	t.keys = slices.SortedFunc(maps.Keys(first), func(a, b string) int {
		return cmp.Or(cmp.Compare(first[a], first[b]), strings.Compare(a, b))
	})
	for key, ms := range seen {
		t.machines[key] = group(ms)
	}
	return t
}

func (t *trace) run() {
	var before []string // the heads of keys before this one
	for _, key := range t.keys {
		var heads []string
		for _, n := range t.nodes {
			if n.Key == key {
				heads = t.place(n, heads, before)
			}
		}
		if why := t.machines[key].conflict(); why != "" {
			t.why[why] = true
		}
		before = append(before, heads...)
	}
	t.sameSequence()
}

// place finds what a report follows, and returns the heads after it.
func (t *trace) place(n Node, heads, before []string) []string {
	t.follows[n.ID] = []string{}
	parent, held := t.all[n.Previous]
	switch {
	case n.Previous == "":
		t.follow(n, before) // a new key's first report: the host speaks with this one now
	case held && t.aside[parent.ID]:
		t.suspect("report %d (%s) continues a line that was set aside", n.Sequence, short(n.ID))
	case held && (parent.Sequence >= n.Sequence || parent.Key != n.Key):
		t.suspect("report %d (%s) names report %d (%s) as the one before", n.Sequence, short(n.ID), parent.Sequence, short(parent.ID))
	case held:
		if t.oneMachine(parent, n) {
			t.follow(n, []string{parent.ID})
		}
	default:
		t.follow(n, t.adopt(n, heads, before))
	}
	heads = slices.DeleteFunc(slices.Clone(heads), func(id string) bool { return slices.Contains(t.follows[n.ID], id) })
	return append(heads, n.ID)
}

// adopt finds the one line that a report can continue whose predecessor never
// arrived. Several that it could continue all go on counting.
func (t *trace) adopt(n Node, heads, before []string) []string {
	var could []string
	for _, id := range heads {
		h := t.all[id]
		if h.Sequence+1 == n.Sequence { // its predecessor would be this one, and it names another
			t.suspect("report %d (%s) does not name report %d (%s) as the one before", n.Sequence, short(n.ID), h.Sequence, short(id))
			continue
		}
		if h.Sequence < n.Sequence && t.oneMachine(h, n) {
			could = append(could, id)
		}
	}
	if len(heads) == 0 {
		return before
	}
	if len(could) > 1 {
		t.suspect("report %d (%s) may continue any of %d lines", n.Sequence, short(n.ID), len(could))
		return nil
	}
	return could
}

func (t *trace) oneMachine(a, b Node) bool {
	return t.machines[b.Key].like(a.Machine, b.Machine) != schema.AnotherMachine
}

// follow lets a report take the place of others. Two that take one's place are a fork.
func (t *trace) follow(n Node, places []string) {
	for _, id := range places {
		t.follows[n.ID] = append(t.follows[n.ID], id)
		other, taken := t.taken[id]
		if !taken {
			t.taken[id] = n.ID
			continue
		}
		o := t.all[other]
		t.suspect("reports %d (%s) and %d (%s) both follow report %d (%s)",
			o.Sequence, short(o.ID), n.Sequence, short(n.ID), t.all[id].Sequence, short(id))
	}
}

// sameSequence tells of a number that was used for several reports of a key.
func (t *trace) sameSequence() {
	type place struct {
		key string
		n   uint64
	}
	first := map[place]string{}
	for _, n := range t.nodes {
		p := place{n.Key, n.Sequence}
		if id, used := first[p]; used {
			t.suspect("sequence %d was used for two reports, %s and %s", n.Sequence, short(id), short(n.ID))
		} else {
			first[p] = n.ID
		}
	}
}

func (t *trace) suspect(format string, args ...any) { t.why[fmt.Sprintf(format, args...)] = true }

func (t *trace) picture() Picture {
	p := Picture{Follows: t.follows, Aside: t.aside, Order: t.order(), Why: slices.Sorted(maps.Keys(t.why))}
	if more := len(p.Why) - maxWhy; more > 0 {
		p.Why = append(p.Why[:maxWhy], fmt.Sprintf("and %d more", more))
	}
	for _, n := range slices.Backward(t.nodes) {
		if _, taken := t.taken[n.ID]; !taken {
			p.Heads = append(p.Heads, n.ID)
		}
	}
	return p
}

func (t *trace) order() [][]string {
	var order [][]string
	for _, key := range t.keys {
		var last *Node
		for i := range t.nodes {
			n := &t.nodes[i]
			switch {
			case n.Key != key:
				continue
			case last != nil && n.Sequence == last.Sequence:
				order[len(order)-1] = append(order[len(order)-1], n.ID)
			default:
				order = append(order, []string{n.ID})
			}
			last = n
		}
	}
	return order
}

// short is enough of a report's id to tell it from others by eye.
func short(id string) string { return id[:min(len(id), 12)] }
