package query

import (
	"context"
	"fmt"
	"time"

	"github.com/patchproof/patchproof/collector/lineage"
)

// LineList is how the reports of a host follow each other: one line, unless two
// hosts may be speaking with one key.
type LineList struct {
	Meta
	Asset string `json:"asset"`
	Name  string `json:"name"`
	// Suspect says that an operator has to look; Why says why.
	Suspect bool     `json:"suspect"`
	Why     []string `json:"why"`
	Lines   []Line   `json:"lines" doc:"Lines that count, the one with the highest sequence first."`
	// Aside counts reports that decisions set aside.
	Aside     int            `json:"aside"`
	Decisions []LineDecision `json:"decisions" doc:"Oldest first."`
}

// Line is one line of reports, as its newest report shows it.
type Line struct {
	Head       string    `json:"head" doc:"Id of its newest report."`
	Sequence   uint64    `json:"sequence"`
	ReceivedAt time.Time `json:"received_at"`
	Machine    string    `json:"machine" doc:"What its newest report says of the machine."`
	Hostname   string    `json:"hostname"`
	Kernel     string    `json:"kernel,omitempty"`
	Packages   string    `json:"packages,omitempty" doc:"Digest of its package part."`
	// Since is the report from which on it is a line of its own, and Reports how many there are since.
	Since   string `json:"since" doc:"The first report that no other line has."`
	Reports int    `json:"reports" doc:"Reports that no other line has."`
}

// LineDecision is what an operator decided.
type LineDecision struct {
	Keep   string    `json:"keep"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Leaf   int64     `json:"leaf"`
}

// Lines shows how the reports of a host follow each other.
func (s *Service) Lines(ctx context.Context, idOrName string) (LineList, error) {
	out := LineList{Why: []string{}, Lines: []Line{}, Decisions: []LineDecision{}}
	a, err := s.Store.Asset(ctx, idOrName)
	if err != nil {
		return out, err
	}
	out.Asset, out.Name = a.ID, a.Name
	if err := readLines(ctx, s.Store, a.ID, &out); err != nil {
		return out, fmt.Errorf("show lines of %s: %w", a.ID, err)
	}
	out.Meta, err = s.meta(ctx, s.now(), len(out.Lines))
	return out, err
}

func readLines(ctx context.Context, st Store, asset string, out *LineList) error {
	l, err := st.Lineage(ctx, asset)
	if err != nil {
		return err
	}
	decisions, err := st.CloneDecisions(ctx, asset)
	if err != nil {
		return err
	}
	for _, d := range decisions {
		out.Decisions = append(out.Decisions, LineDecision{Keep: d.Keep, By: d.By, At: d.At, Reason: d.Reason, Leaf: d.Leaf})
	}
	p := lineage.Trace(l.Nodes, l.Decisions)
	out.Suspect, out.Why, out.Aside = p.Suspect(), append(out.Why, p.Why...), len(p.Aside)
	for _, head := range p.Heads {
		r, err := st.Report(ctx, head)
		if err != nil {
			return err
		}
		own := p.Own(head)
		out.Lines = append(out.Lines, Line{
			Head: head, Sequence: r.Sequence, ReceivedAt: r.ReceivedAt, Machine: r.Statement.Machine().String(),
			Hostname: r.Statement.Host.Hostname, Kernel: r.Kernel.Release, Packages: r.SetDigest,
			Since: own[0], Reports: len(own),
		})
	}
	return nil
}
