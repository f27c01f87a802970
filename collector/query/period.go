package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
)

// Period is what became of findings between two moments.
type Period struct {
	From time.Time `json:"from" doc:"Start: the last instant before the period."`
	To   time.Time `json:"to"`
	PeriodCounts
	Rows []PeriodRow `json:"rows" doc:"By what the summary is grouped by; the rows sum to the whole."`
}

// PeriodCounts balance: OpenAtStart, Detected and Reopened, less Closed, are
// OpenAtEnd; the outcomes sum to Closed. A finding that closed and came back within
// the period only stood through it.
type PeriodCounts struct {
	OpenAtStart int `json:"open_at_start"`
	Detected    int `json:"detected" doc:"Recorded in the period for the first time."`
	Reopened    int `json:"reopened" doc:"Closed at the start, and back within the window."`
	Closed      int `json:"closed"`
	// How the closed ones ended, as was known at the end of the period.
	FixedOnTime    int `json:"fixed_on_time"`
	FixedLate      int `json:"fixed_late"`
	NotAffected    int `json:"not_affected"`
	NotRunning     int `json:"not_running"`
	RetiredInTime  int `json:"retired_in_time"`
	RetiredOverdue int `json:"retired_overdue"`
	OpenAtEnd      int `json:"open_at_end"`
	Breached       int `json:"breached" doc:"Patch deadlines breached in the period."`
	Unmitigated    int `json:"unmitigated" doc:"Mitigation deadlines breached in the period."`
	Due            int `json:"due" doc:"Patch deadlines that fell in the period."`
	// OnTime is of those that ended in the period.
	OnTime *OnTime `json:"on_time,omitempty" doc:"Absent where nothing that had a deadline ended in the period."`
}

// PeriodRow counts the findings of one value people group by.
type PeriodRow struct {
	Value string `json:"value" doc:"Empty where nobody said."`
	PeriodCounts
}

// Period answers what became of the findings a filter lets through between two
// moments that are over: a date begins with its first instant, in the policy's
// zone, and ends with its last; without an end it is now. The answer is a summary
// as of the end, with the period. What was grouped by is as of the end, too.
func (s *Service) Period(ctx context.Context, from, to string, f Filter, by string) (Summary, error) {
	start, err := s.startOf(ctx, from)
	if err != nil {
		return Summary{}, err
	}
	end := s.Now().UTC().Add(-time.Microsecond).Truncate(time.Microsecond)
	if to != "" {
		if end, err = s.moment(ctx, to); err != nil {
			return Summary{}, err
		}
	}
	if !start.Before(end) {
		return Summary{}, fmt.Errorf("%w: the period from %s to %s is empty", ErrFilter, start.Format(time.RFC3339), end.Format(time.RFC3339))
	}
	var out Summary
	err = s.Store.Between(ctx, start, end, func(st store.Store, p store.Position) error {
		past := &Service{Store: st, Now: s.Now, position: &p}
		if out, err = past.Summary(ctx, f, by); err != nil {
			return err
		}
		out.Period, err = past.period(ctx, start, f, by)
		out.Filters["from"], out.Filters["to"] = from, cmp.Or(to, end.Format(time.RFC3339Nano))
		return err
	})
	if errors.Is(err, store.ErrNoHistory) {
		return out, s.noHistory(ctx, start)
	}
	return out, err
}

// startOf reads when a period begins: the last instant before a date, or an instant.
func (s *Service) startOf(ctx context.Context, word string) (time.Time, error) {
	day, err := time.Parse(time.DateOnly, word)
	if err != nil {
		return s.moment(ctx, word)
	}
	return s.moment(ctx, day.AddDate(0, 0, -1).Format(time.DateOnly))
}

func (s *Service) period(ctx context.Context, from time.Time, f Filter, by string) (*Period, error) {
	at := s.now()
	out := &Period{From: from, To: at, Rows: []PeriodRow{}}
	q, possible, err := s.findingQuery(ctx, f, at)
	if err != nil || !possible {
		return out, err
	}
	counts, err := s.Store.Period(ctx, q, by)
	if err != nil {
		return out, err
	}
	for i := range counts { // in order of value
		c := &counts[i]
		out.add(c)
		if by == "" {
			continue
		}
		if n := len(out.Rows); n == 0 || out.Rows[n-1].Value != c.Value {
			out.Rows = append(out.Rows, PeriodRow{Value: c.Value})
		}
		out.Rows[len(out.Rows)-1].add(c)
	}
	slices.SortStableFunc(out.Rows, func(a, b PeriodRow) int {
		return cmp.Or(cmp.Compare(b.Breached, a.Breached), cmp.Compare(b.OpenAtEnd, a.OpenAtEnd), cmp.Compare(a.Value, b.Value))
	})
	return out, nil
}

func (c *PeriodCounts) add(n *store.PeriodCount) {
	c.OpenAtStart += n.OpenAtStart
	c.Detected += n.Recorded
	c.Reopened += n.Reopened
	c.Closed += n.Closed
	c.OpenAtEnd += n.OpenAtEnd
	c.Breached += n.Breached
	c.Unmitigated += n.Unmitigated
	c.Due += n.Due
	switch n.Outcome {
	case finding.FixedOnTime:
		c.FixedOnTime += n.Closed
		c.measure(n.Dated, n.Dated)
	case finding.FixedLate:
		c.FixedLate += n.Closed
		c.measure(0, n.Dated)
	case finding.WasNotAffected:
		c.NotAffected += n.Closed
	case finding.NotRunning:
		c.NotRunning += n.Closed
	case finding.RetiredInTime:
		c.RetiredInTime += n.Closed
	case finding.RetiredOverdue:
		c.RetiredOverdue += n.Closed
		c.measure(0, n.Dated)
	case finding.Within, finding.Overdue, finding.AwaitingFix, finding.Accepted:
	}
}

// measure is that of FindingCounts.
func (c *PeriodCounts) measure(inTime, of int) {
	whole := FindingCounts{OnTime: c.OnTime}
	whole.measure(inTime, of)
	c.OnTime = whole.OnTime
}
