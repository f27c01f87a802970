package query

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
)

// BreachQuery asks for breaches of the findings that a filter lets through. The
// filter's After is the cursor of a page of breaches; its Sort is not looked at.
type BreachQuery struct {
	Filter
	// Kinds of deadlines, all when empty; After and Before bound when it happened.
	Kinds         []string
	BreachedAfter string
	// BreachedBefore is a date, as its first instant, or an instant.
	BreachedBefore string
}

// BreachList lists breaches, each once for every episode and kind of deadline.
type BreachList struct {
	Meta
	Breaches []BreachRow `json:"breaches" doc:"Of patch deadlines, then of mitigation; first breach first."`
	Next     string      `json:"next,omitempty" doc:"Cursor of the next page."`
}

// BreachRow is a deadline that passed while its finding stood.
type BreachRow struct {
	Kind     finding.DeadlineKind `json:"kind"`
	At       time.Time            `json:"at" doc:"When it was breached."`
	Deadline time.Time            `json:"deadline" doc:"First instant out of time."`
	// Why says where the date comes from, and what moved it.
	Rule    string   `json:"rule,omitempty"`
	Why     []string `json:"why" doc:"Why the date was that, and what moved it."`
	Finding Finding  `json:"finding" doc:"As of the answer."`
}

// BreachKinds are the kinds of deadlines, in the order of lists.
var BreachKinds = []finding.DeadlineKind{finding.Patch, finding.Mitigate}

// Breaches lists breaches, each once.
func (s *Service) Breaches(ctx context.Context, b BreachQuery) (BreachList, error) {
	at := s.now()
	out := BreachList{Breaches: []BreachRow{}}
	kinds, after, err := b.kinds()
	if err != nil {
		return out, err
	}
	f := b.Filter
	f.Sort, f.After = nil, ""
	q, possible, err := s.findingQuery(ctx, f, at)
	if err != nil {
		return out, err
	}
	for _, t := range []struct {
		word string
		into *time.Time
	}{{b.BreachedAfter, &q.BreachedAfter}, {b.BreachedBefore, &q.BreachedBefore}} {
		if *t.into, err = when(t.word); err != nil {
			return out, fmt.Errorf("%w: %q is no date and no instant", ErrFilter, t.word)
		}
	}
	for i, kind := range kinds {
		if !possible || f.Limit > 0 && len(out.Breaches) > f.Limit {
			break
		}
		q.Breach, q.After = kind, ""
		if i == 0 {
			q.After = after
		}
		if f.Limit > 0 {
			q.Limit = f.Limit + 1 - len(out.Breaches) // one more tells whether there is a next page
		}
		if err := s.breachesOf(ctx, &out, q, at); err != nil {
			return out, err
		}
	}
	if f.Limit > 0 && len(out.Breaches) > f.Limit {
		out.Breaches = out.Breaches[:f.Limit]
		last := &out.Breaches[f.Limit-1]
		out.Next = string(last.Kind) + "/" + last.Finding.ID
	}
	if out.Meta, err = s.meta(ctx, at, len(out.Breaches)); err != nil {
		return out, err
	}
	out.Filters = b.words()
	return out, nil
}

// kinds are the kinds to list, from the one that the cursor is in on.
func (b *BreachQuery) kinds() (kinds []finding.DeadlineKind, after string, err error) {
	for _, k := range b.Kinds {
		if !slices.Contains(BreachKinds, finding.DeadlineKind(k)) {
			return nil, "", fmt.Errorf("%w: deadline %q: want patch or mitigate", ErrFilter, k)
		}
	}
	for _, k := range BreachKinds {
		if len(b.Kinds) == 0 || slices.Contains(b.Kinds, string(k)) {
			kinds = append(kinds, k)
		}
	}
	if b.After == "" {
		return kinds, "", nil
	}
	kind, id, ok := strings.Cut(b.After, "/")
	i := slices.Index(kinds, finding.DeadlineKind(kind))
	if !ok || i < 0 {
		return nil, "", fmt.Errorf("%w: cursor %q is of no page of these breaches", ErrFilter, b.After)
	}
	return kinds[i:], id, nil
}

func (s *Service) breachesOf(ctx context.Context, out *BreachList, q store.FindingQuery, at time.Time) error {
	list, err := s.Store.ListFindings(ctx, q)
	if err != nil {
		return fmt.Errorf("list breaches: %w", err)
	}
	rows, err := s.rows(ctx, list, at)
	if err != nil {
		return err
	}
	for i := range list {
		b := list[i].Clock.Breach(q.Breach)
		if b == nil {
			return fmt.Errorf("finding %s: its breach is not in its record", list[i].ID)
		}
		row := BreachRow{Kind: b.Kind, At: b.At, Deadline: b.Deadline, Finding: rows[i]}
		row.Rule, row.Why = whyDue(&list[i], b, rows[i].Why)
		out.Breaches = append(out.Breaches, row)
	}
	return nil
}

// whyDue says why a breached deadline was what it was.
func whyDue(f *finding.Finding, b *finding.Breach, why string) (rule string, words []string) {
	words = []string{}
	if b.Kind == finding.Mitigate {
		for _, c := range f.Verdict.Candidates {
			if strings.HasPrefix(c.Rule, "kev") {
				rule = c.Rule
				words = append(words, c.Why)
				break
			}
		}
		return rule, append(words, "known exploited: to be mitigated by "+b.Deadline.UTC().Format(time.RFC3339))
	}
	if f.Verdict.DueAt.Equal(b.Deadline) {
		rule, words = f.Verdict.Rule, append(words, why)
	} else {
		words = append(words, "its date has moved since, to "+none(f.Verdict.Due))
	}
	for _, m := range f.Clock.Moves {
		if !m.At.After(b.At) {
			words = append(words, fmt.Sprintf("moved on %s from %s to %s: %s", date(m.At), none(m.From), none(m.To), m.Why))
		}
	}
	if !b.At.Equal(b.Deadline) {
		words = append(words, "the date came to lie in the past when it moved")
	}
	return rule, words
}

// words are the filters that are set, by name.
func (b *BreachQuery) words() map[string]string {
	out := b.Filter.words()
	delete(out, "sort")
	for name, value := range map[string]string{"kind": strings.Join(b.Kinds, ","), "breached_after": b.BreachedAfter, "breached_before": b.BreachedBefore} {
		if value != "" {
			out[name] = value
		}
	}
	return out
}
