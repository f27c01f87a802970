package lineage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/patchproof/patchproof/schema"
)

// machines groups the machines that one key was seen on. What is known of a
// machine changes from report to report (a metadata service that is away, a
// machine-id made anew), so machines that some report ties together are one.
type machines struct {
	seen []schema.Machine // distinct, sorted
	of   []int            // group of each
	many bool             // there are more, which are not looked at
}

// telling leaves a machine's strongest facts: a machine-id says nothing beside
// them, and some systems make another at each boot.
func telling(m schema.Machine) schema.Machine {
	if m.ProductUUID != "" || schema.FromCloud(m.Instance) {
		m.MachineID = ""
	}
	return m
}

// maxMachines bounds the comparing. A host has one, or a few when facts of it
// come and go.
const maxMachines = 16

func group(ms []schema.Machine) *machines {
	known := make([]schema.Machine, len(ms))
	for i, m := range ms {
		known[i] = telling(m)
	}
	g := &machines{seen: slices.Compact(slices.SortedFunc(slices.Values(known), compareMachines))}
	if len(g.seen) > maxMachines {
		g.seen, g.many = g.seen[:maxMachines], true
	}
	g.of = make([]int, len(g.seen))
	for i := range g.of {
		g.of[i] = i
	}
	for changed := true; changed; {
		changed = false
		for i := range g.seen {
			for j := range i {
				if like, _ := g.seen[i].Like(g.seen[j]); like == schema.SameMachine && g.of[i] != g.of[j] {
					g.of[i], g.of[j], changed = min(g.of[i], g.of[j]), min(g.of[i], g.of[j]), true
				}
			}
		}
	}
	return g
}

func compareMachines(a, b schema.Machine) int {
	return cmp.Or(strings.Compare(a.Instance, b.Instance), strings.Compare(a.ProductUUID, b.ProductUUID), strings.Compare(a.MachineID, b.MachineID))
}

// like compares two machines as the groups they are in: another only when every
// fact that was ever seen of both says so.
func (g *machines) like(a, b schema.Machine) schema.Likeness {
	a, b = telling(a), telling(b)
	if instances(a, b) {
		return schema.AnotherMachine
	}
	i, j := slices.Index(g.seen, a), slices.Index(g.seen, b)
	if i < 0 || j < 0 {
		like, _ := a.Like(b)
		return like
	}
	return g.groups(g.of[i], g.of[j])
}

// instances reports whether two machines are two instances of a cloud: whatever
// else they share, no report ties them together.
func instances(a, b schema.Machine) bool {
	if !schema.FromCloud(a.Instance) || !schema.FromCloud(b.Instance) {
		return false
	}
	like, _ := schema.Machine{Instance: a.Instance}.Like(schema.Machine{Instance: b.Instance})
	return like == schema.AnotherMachine
}

func (g *machines) groups(a, b int) schema.Likeness {
	if a == b {
		return schema.SameMachine
	}
	for i := range g.seen {
		for j := range g.seen {
			if g.of[i] != a || g.of[j] != b {
				continue
			}
			if like, _ := g.seen[i].Like(g.seen[j]); like != schema.AnotherMachine {
				return schema.UnknownMachine
			}
		}
	}
	return schema.AnotherMachine
}

// conflict says which two machines the key was seen on, empty for one.
func (g *machines) conflict() string {
	if g.many {
		return fmt.Sprintf("one key on more than %d machines", maxMachines)
	}
	for i := range g.seen {
		for j := range i {
			if instances(g.seen[i], g.seen[j]) || g.groups(g.of[j], g.of[i]) == schema.AnotherMachine {
				return fmt.Sprintf("one key on two machines: %s; and %s", g.seen[j], g.seen[i])
			}
		}
	}
	return ""
}

// Moved reports whether a key was seen on machines that are not one.
func Moved(seen []schema.Machine) bool { return group(seen).conflict() != "" }
