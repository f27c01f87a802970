package query

import (
	"context"
	"fmt"
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
	Undetermined int      `json:"undetermined" doc:"Comparisons that could not be made."`
}

// AssetCounts says how complete the picture is.
type AssetCounts struct {
	Total         int `json:"total"`
	Reporting     int `json:"reporting" doc:"Reported within 48 hours."`
	Silent        int `json:"silent"`
	NeverReported int `json:"never_reported"`
	Uncovered     int `json:"uncovered" doc:"On a release that no feed covers."`
	WithGaps      int `json:"with_gaps"`
	PendingKeys   int `json:"pending_keys" doc:"Keys that send reports and are not trusted."`
	// Waiting assets have news that findings do not show yet.
	Waiting int `json:"waiting" doc:"Marked for assessment."`
}

// FindingCounts are disjoint: Within, Overdue and AwaitingFix sum to Running;
// Running, Fixed and NotAffected sum to Total.
type FindingCounts struct {
	Total         int `json:"total"`
	Running       int `json:"running"`
	Within        int `json:"within"`
	Overdue       int `json:"overdue"`
	AwaitingFix   int `json:"awaiting_fix"`
	Fixed         int `json:"fixed"`
	NotAffected   int `json:"not_affected"`
	PendingReboot int `json:"pending_reboot" doc:"Of the running: fixed on disk, old kernel runs."`
	Arrival       int `json:"arrival" doc:"Of the running: window had closed at first sight."`
	KEV           int `json:"kev" doc:"Of the running: known exploited."`
}

// SeverityRow counts running findings of one severity.
type SeverityRow struct {
	Severity    finding.Severity `json:"severity"`
	Running     int              `json:"running"`
	Within      int              `json:"within"`
	Overdue     int              `json:"overdue"`
	AwaitingFix int              `json:"awaiting_fix"`
	KEV         int              `json:"kev"`
}

// DueRow counts findings that fall due within so many days, not counting earlier rows.
type DueRow struct {
	WithinDays int `json:"within_days"`
	Count      int `json:"count"`
}

// Summary answers for the whole estate.
func (s *Service) Summary(ctx context.Context) (Summary, error) {
	at := s.now()
	rows, err := s.Store.ListFindings(ctx, store.FindingQuery{})
	if err != nil {
		return Summary{}, fmt.Errorf("list findings: %w", err)
	}
	out := Summary{
		BySeverity: []SeverityRow{{Severity: finding.Critical}, {Severity: finding.High}, {Severity: finding.Medium}, {Severity: finding.Low}},
		DueSoon:    []DueRow{{WithinDays: 7}, {WithinDays: 14}, {WithinDays: 30}, {WithinDays: 90}},
	}
	for i := range rows {
		r := row(&rows[i], "", at)
		out.count(&r)
	}
	if out.Undetermined, err = s.Store.CountUndetermined(ctx); err != nil {
		return out, fmt.Errorf("count undetermined: %w", err)
	}
	out.Meta, err = s.meta(ctx, at, len(rows))
	out.Assets = out.Coverage
	return out, err
}

func (o *Summary) count(r *Finding) {
	c := &o.Findings
	c.Total++
	switch r.State {
	case finding.Fixed:
		c.Fixed++
		return
	case finding.NotAffected:
		c.NotAffected++
		return
	case finding.PendingReboot:
		c.PendingReboot++
	case finding.Open:
	}
	c.Running++
	if r.Arrival {
		c.Arrival++
	}
	if r.KEV {
		c.KEV++
	}
	var sev *SeverityRow
	for i := range o.BySeverity {
		if o.BySeverity[i].Severity == r.Severity {
			sev = &o.BySeverity[i]
		}
	}
	if sev == nil { // a severity of a newer policy is shown, never lost
		o.BySeverity = append(o.BySeverity, SeverityRow{Severity: r.Severity})
		sev = &o.BySeverity[len(o.BySeverity)-1]
	}
	sev.Running++
	if r.KEV {
		sev.KEV++
	}
	switch {
	case r.Overdue:
		c.Overdue++
		sev.Overdue++
	case r.Due == "":
		c.AwaitingFix++
		sev.AwaitingFix++
	default:
		c.Within++
		sev.Within++
		for i := range o.DueSoon {
			if r.DaysLeft < o.DueSoon[i].WithinDays {
				o.DueSoon[i].Count++
				break
			}
		}
	}
}

func (s *Service) assetCounts(ctx context.Context, at time.Time) (AssetCounts, error) {
	as, err := s.Store.Assets(ctx)
	if err != nil {
		return AssetCounts{}, fmt.Errorf("list assets: %w", err)
	}
	var c AssetCounts
	for _, a := range as {
		c.Total++
		switch {
		case a.Head == nil:
			c.NeverReported++
			continue
		case at.Sub(a.Head.ReceivedAt) > silentAfter:
			c.Silent++
		default:
			c.Reporting++
		}
		if !a.Covered {
			c.Uncovered++
		}
		if len(a.Gaps) > 0 {
			c.WithGaps++
		}
	}
	pending, err := s.Store.QuarantineKeys(ctx, schema.ReasonUnknownKey)
	if err != nil {
		return c, fmt.Errorf("list pending keys: %w", err)
	}
	c.PendingKeys = len(pending)
	marks, err := s.Store.DirtyAssets(ctx, max(len(as), 1))
	if err != nil {
		return c, fmt.Errorf("list assets to assess: %w", err)
	}
	c.Waiting = len(marks)
	return c, nil
}
