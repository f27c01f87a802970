package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// silentAfter is how long a host may go without a report before it is shown as silent.
const silentAfter = 48 * time.Hour

// Summary is the state of the whole estate in one answer.
type Summary struct {
	Meta
	Assets   AssetCounts   `json:"assets"`
	Findings FindingCounts `json:"findings"`
	// BySeverity holds the running findings, worst first; the rows sum to Findings.Running.
	BySeverity []SeverityRow `json:"by_severity"`
	// DueSoon counts running findings in time, by when they fall due.
	DueSoon      []DueRow `json:"due_soon"`
	Undetermined int      `json:"undetermined" doc:"Comparisons that could not be made, whatever the filters."`
	// By is what Rows are grouped by, empty when nothing was asked.
	By   string     `json:"by,omitempty"`
	Rows []GroupRow `json:"rows" doc:"Most overdue first; the rows sum to Findings."`
	// Period is set when a period was asked for; all else is as of its end.
	Period *Period `json:"period,omitempty"`
}

// AssetCounts says how complete the picture is.
type AssetCounts struct {
	Total         int `json:"total"`
	Reporting     int `json:"reporting" doc:"Reported within 48 hours."`
	Silent        int `json:"silent"`
	NeverReported int `json:"never_reported"`
	Uncovered     int `json:"uncovered" doc:"On a release that no feed covers."`
	WithGaps      int `json:"with_gaps"`
	// PendingKeys and Waiting are of now: for a past moment they are not known, and nil.
	PendingKeys *int `json:"pending_keys,omitempty" doc:"Keys that send reports and are not trusted. Not kept for the past."`
	// Gone assets are retired or terminated and in no other count but Total; those
	// that are Back report all the same.
	Gone int `json:"gone" doc:"Retired or terminated."`
	Back int `json:"back" doc:"Retired or terminated, and yet they report."`
	// Waiting assets have news that findings do not show yet.
	Waiting *int `json:"waiting,omitempty" doc:"Marked for assessment. Not kept for the past."`
}

// FindingCounts count findings by outcome. Within, Overdue, AwaitingFix and
// Accepted sum to Running, FixedOnTime and FixedLate to Fixed; these with
// NotAffected, NotRunning, RetiredInTime and RetiredOverdue sum to Total.
type FindingCounts struct {
	Total          int `json:"total"`
	Running        int `json:"running"`
	Within         int `json:"within"`
	Overdue        int `json:"overdue"`
	AwaitingFix    int `json:"awaiting_fix"`
	Accepted       int `json:"accepted" doc:"An exception in force gives the date."`
	Fixed          int `json:"fixed" doc:"On time and late."`
	FixedOnTime    int `json:"fixed_on_time"`
	FixedLate      int `json:"fixed_late"`
	NotAffected    int `json:"not_affected"`
	NotRunning     int `json:"not_running" doc:"The image runs nowhere any more."`
	RetiredInTime  int `json:"retired_in_time" doc:"Their asset was retired; never counted as fixed."`
	RetiredOverdue int `json:"retired_overdue"`
	PendingReboot  int `json:"pending_reboot" doc:"Of the running: fixed on disk, old kernel runs."`
	PendingRestart int `json:"pending_restart" doc:"Of the running: fixed on disk, processes run the old code."`
	Arrival        int `json:"arrival" doc:"Of the running: window had closed at first sight."`
	KEV            int `json:"kev" doc:"Of the running: known exploited."`
	// Provisional are those of the closed whose outcome can still change.
	Provisional int        `json:"provisional" doc:"Of the closed: can come back as the same episode."`
	Flags       FlagCounts `json:"flags" doc:"Running and closed ones alike."`
	OnTime      *OnTime    `json:"on_time,omitempty" doc:"Absent where nothing that had a deadline has ended."`
}

// FlagCounts count findings by what is told on top of outcomes: they overlap.
type FlagCounts struct {
	Arrival       int `json:"arrival"`
	Regression    int `json:"regression"`
	OnTimeClaimed int `json:"on_time_claimed"`
	TargetMissed  int `json:"target_missed"`
}

// OnTime is the share of remediations that were in time. It is of findings that
// had a deadline and were fixed, or whose asset was retired after it: retiring an
// asset makes no deadline met, and none that was missed undone.
type OnTime struct {
	InTime int `json:"in_time"`
	Of     int `json:"of"`
	// Percent is cut to one decimal, never rounded up.
	Percent float64 `json:"percent"`
}

// SeverityRow counts running findings of one severity.
type SeverityRow struct {
	Severity    finding.Severity `json:"severity"`
	Running     int              `json:"running"`
	Within      int              `json:"within"`
	Overdue     int              `json:"overdue"`
	AwaitingFix int              `json:"awaiting_fix"`
	Accepted    int              `json:"accepted"`
	KEV         int              `json:"kev"`
}

// DueRow counts findings that fall due within so many days, not counting earlier rows.
type DueRow struct {
	WithinDays int `json:"within_days"`
	Count      int `json:"count"`
}

// GroupRow counts the findings of one value people group by. The columns are
// those of FindingCounts, and sum to them over all rows.
type GroupRow struct {
	Value string `json:"value" doc:"Empty where nobody said."`
	FindingCounts
}

// Groupings are what a summary can be grouped by.
var Groupings = store.Groupings

// Summary answers for the whole estate, or for the findings a filter lets through,
// and by one of Groupings when it is named.
func (s *Service) Summary(ctx context.Context, f Filter, by string) (Summary, error) {
	at := s.now()
	out := Summary{
		By:         by,
		BySeverity: []SeverityRow{{Severity: finding.Critical}, {Severity: finding.High}, {Severity: finding.Medium}, {Severity: finding.Low}},
		DueSoon:    []DueRow{{WithinDays: 7}, {WithinDays: 14}, {WithinDays: 30}, {WithinDays: 90}},
		Rows:       []GroupRow{},
	}
	if by != "" && !slices.Contains(Groupings, by) {
		return out, fmt.Errorf("%w: group by %q: want %s", ErrFilter, by, strings.Join(Groupings, ", "))
	}
	q, possible, err := s.findingQuery(ctx, f, at)
	if err != nil {
		return out, err
	}
	if possible {
		if err := s.count(ctx, &out, q, at); err != nil {
			return out, err
		}
	}
	if out.Undetermined, err = s.Store.CountUndetermined(ctx); err != nil {
		return out, fmt.Errorf("count undetermined: %w", err)
	}
	out.Meta, err = s.meta(ctx, at, out.Findings.Total)
	out.Filters = f.words()
	out.Assets = out.Coverage
	return out, err
}

// count fills a summary from counts that the store makes.
func (s *Service) count(ctx context.Context, out *Summary, q store.FindingQuery, at time.Time) error {
	severities, err := s.Store.CountFindings(ctx, q, "severity", at)
	if err != nil {
		return fmt.Errorf("count findings by severity: %w", err)
	}
	for _, c := range severities {
		out.Findings.add(c)
		if c.Outcome.Running() && c.Total > 0 {
			out.severity(finding.Severity(c.Value)).add(c)
		}
	}
	ends := []time.Time{at.Add(time.Microsecond)}
	for _, d := range out.DueSoon {
		ends = append(ends, at.AddDate(0, 0, d.WithinDays))
	}
	due, err := s.Store.CountDue(ctx, q, ends)
	if err != nil {
		return fmt.Errorf("count what falls due: %w", err)
	}
	for i, n := range due {
		out.DueSoon[i].Count = n
	}
	if out.By == "" {
		return nil
	}
	groups := severities
	if out.By != "severity" {
		if groups, err = s.Store.CountFindings(ctx, q, out.By, at); err != nil {
			return fmt.Errorf("count findings by %s: %w", out.By, err)
		}
	}
	for _, c := range groups { // in order of value
		if n := len(out.Rows); n == 0 || out.Rows[n-1].Value != c.Value {
			out.Rows = append(out.Rows, GroupRow{Value: c.Value})
		}
		out.Rows[len(out.Rows)-1].add(c)
	}
	slices.SortStableFunc(out.Rows, func(a, b GroupRow) int {
		return cmp.Or(cmp.Compare(b.Overdue, a.Overdue), cmp.Compare(b.Running, a.Running), cmp.Compare(a.Value, b.Value))
	})
	return nil
}

func (c *FindingCounts) add(n store.FindingCount) {
	c.Total += n.Total
	if place := c.of(n.Outcome); place != nil {
		*place += n.Total
	}
	switch n.Outcome {
	case finding.FixedOnTime:
		c.Fixed += n.Total
		c.measure(n.Dated, n.Dated)
	case finding.FixedLate:
		c.Fixed += n.Total
		c.measure(0, n.Dated)
	case finding.RetiredOverdue:
		c.measure(0, n.Dated)
	default:
	}
	if n.Outcome.Running() {
		c.Running += n.Total
		c.KEV += n.KEV
		c.Arrival += n.Arrival
	} else {
		c.Provisional += n.Total - n.Final
	}
	switch finding.State(n.State) {
	case finding.PendingReboot:
		c.PendingReboot += n.Total
	case finding.PendingRestart:
		c.PendingRestart += n.Total
	default:
	}
	c.Flags.Arrival += n.Arrival
	c.Flags.Regression += n.Regression
	c.Flags.OnTimeClaimed += n.OnTimeClaimed
	c.Flags.TargetMissed += n.TargetMissed
}

// of is the place of an outcome, nil for one this version does not know.
func (c *FindingCounts) of(o finding.Outcome) *int {
	return map[finding.Outcome]*int{
		finding.Within: &c.Within, finding.Overdue: &c.Overdue, finding.AwaitingFix: &c.AwaitingFix, finding.Accepted: &c.Accepted,
		finding.FixedOnTime: &c.FixedOnTime, finding.FixedLate: &c.FixedLate, finding.WasNotAffected: &c.NotAffected,
		finding.NotRunning: &c.NotRunning, finding.RetiredInTime: &c.RetiredInTime, finding.RetiredOverdue: &c.RetiredOverdue,
	}[o]
}

// measure adds findings that ended with a deadline, and how many of them in time.
func (c *FindingCounts) measure(inTime, of int) {
	if of == 0 {
		return
	}
	if c.OnTime == nil {
		c.OnTime = &OnTime{}
	}
	c.OnTime.InTime += inTime
	c.OnTime.Of += of
	c.OnTime.Percent = float64(c.OnTime.InTime*1000/c.OnTime.Of) / 10
}

// severity is the row of a severity; one of a newer policy is shown, never lost.
func (o *Summary) severity(sev finding.Severity) *SeverityRow {
	for i := range o.BySeverity {
		if o.BySeverity[i].Severity == sev {
			return &o.BySeverity[i]
		}
	}
	o.BySeverity = append(o.BySeverity, SeverityRow{Severity: sev})
	return &o.BySeverity[len(o.BySeverity)-1]
}

func (r *SeverityRow) add(n store.FindingCount) {
	r.Running += n.Total
	r.KEV += n.KEV
	switch n.Outcome {
	case finding.Overdue:
		r.Overdue += n.Total
	case finding.AwaitingFix:
		r.AwaitingFix += n.Total
	case finding.Accepted:
		r.Accepted += n.Total
	default:
		r.Within += n.Total
	}
}

func (s *Service) assetCounts(ctx context.Context, at time.Time) (AssetCounts, error) {
	p, err := s.Store.AssetPicture(ctx, at.Add(-silentAfter))
	if err != nil {
		return AssetCounts{}, err
	}
	out := AssetCounts{
		Total: p.Total, Reporting: p.Total - p.Gone - p.NeverReported - p.Silent, Silent: p.Silent, NeverReported: p.NeverReported,
		Uncovered: p.Uncovered, WithGaps: p.WithGaps, Gone: p.Gone, Back: p.Back,
	}
	if s.position != nil {
		return out, nil
	}
	out.Waiting = &p.Waiting
	out.PendingKeys, err = s.pendingKeys(ctx)
	return out, err
}

func (s *Service) pendingKeys(ctx context.Context) (*int, error) {
	keys, err := s.Store.QuarantineKeys(ctx, schema.ReasonUnknownKey)
	if err != nil {
		return nil, fmt.Errorf("list pending keys: %w", err)
	}
	n := len(keys)
	return &n, nil
}
