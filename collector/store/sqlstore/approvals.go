package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
)

type approvalRow struct {
	bun.BaseModel `bun:"table:approval"`

	ID          string `bun:"id,pk"`
	Cause       string `bun:"cause"`
	Subject     string `bun:"subject"`
	What        string `bun:"what"`
	RequestedBy string `bun:"requested_by"`
	RequestedAt int64  `bun:"requested_at"`
	State       string `bun:"state"`
	DecidedBy   string `bun:"decided_by"`
	DecidedAt   int64  `bun:"decided_at"`
	Reason      string `bun:"reason"`
}

func (r approvalRow) approval() store.Approval {
	a := store.Approval{
		ID: r.ID, Cause: finding.Cause(r.Cause), Subject: r.Subject, What: r.What, RequestedBy: r.RequestedBy,
		RequestedAt: instant(r.RequestedAt), State: store.ApprovalState(r.State), DecidedBy: r.DecidedBy, Reason: r.Reason,
	}
	if r.DecidedAt != zeroTime {
		a.DecidedAt = instant(r.DecidedAt)
	}
	return a
}

// Approvals lists all: pending ones first, then by request, newest first.
func (s *Store) Approvals(ctx context.Context) ([]store.Approval, error) {
	var rows []approvalRow
	err := s.reader.NewSelect().Model(&rows).
		OrderExpr("CASE WHEN state = 'pending' THEN 0 ELSE 1 END, requested_at DESC, id").Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("read approvals: %w", err)
	}
	list := make([]store.Approval, len(rows))
	for i, r := range rows {
		list[i] = r.approval()
	}
	return list, nil
}

// Approval returns one request.
func (s *Store) Approval(ctx context.Context, id string) (store.Approval, error) {
	var row approvalRow
	if err := s.reader.NewSelect().Model(&row).Where("id = ?", id).Scan(ctx); err != nil {
		return store.Approval{}, notFound(err, "approval %s", id)
	}
	return row.approval(), nil
}

// DecideApproval grants or denies a pending request. [store.ErrConflict] when it
// is not pending, [store.ErrOwnRequest] when the one who asked decides.
func (s *Store) DecideApproval(ctx context.Context, a store.Approval, leaf store.Leaf) (n int64, err error) {
	err = s.write(ctx, "decide approval", func(tx bun.Tx) error {
		var row approvalRow
		if err := tx.NewSelect().Model(&row).Where("id = ?", a.ID).Scan(ctx); err != nil {
			return notFound(err, "approval %s", a.ID)
		}
		switch {
		case row.State != string(store.ApprovalPending):
			return fmt.Errorf("approval %s is %s: %w", a.ID, row.State, store.ErrConflict)
		case row.RequestedBy == "" || a.DecidedBy == "" || row.RequestedBy == a.DecidedBy:
			return fmt.Errorf("approval %s, asked for by %q: %w", a.ID, row.RequestedBy, store.ErrOwnRequest)
		case a.State != store.ApprovalGranted && a.State != store.ApprovalDenied:
			return fmt.Errorf("approval %s: a decision cannot be %q", a.ID, a.State)
		}
		_, err := tx.NewRaw("UPDATE approval SET state = ?, decided_by = ?, decided_at = ?, reason = ? WHERE id = ?",
			string(a.State), a.DecidedBy, micros(a.DecidedAt), words(a.Reason), a.ID).Exec(ctx)
		if err != nil {
			return err
		}
		if row.Cause == string(finding.CausePolicy) {
			err = markEvery(ctx, tx)
		} else {
			err = markAssets(ctx, tx, []string{row.Subject})
		}
		if err != nil {
			return err
		}
		n, err = appendLeaf(ctx, tx, leaf)
		return err
	})
	return n, err
}

// recordRequests keeps what an assessment asks for. A request of an asset that is
// not for its attributes of now is superseded, granted or not; asked for again it
// is pending again.
func recordRequests(ctx context.Context, tx bun.Tx, a store.Assessment) error {
	if a.Classification != "" {
		_, err := tx.NewRaw("UPDATE approval SET state = ? WHERE cause = ? AND subject = ? AND id <> ? AND state <> ?",
			string(store.ApprovalSuperseded), string(finding.CauseClassification), a.Mark.Asset, a.Classification, string(store.ApprovalSuperseded)).Exec(ctx)
		if err != nil {
			return err
		}
	}
	for _, r := range a.Requests {
		row := approvalRow{
			ID: r.ID, Cause: string(r.Cause), Subject: r.Subject, What: words(r.What), RequestedBy: r.RequestedBy,
			RequestedAt: micros(r.RequestedAt), State: string(store.ApprovalPending), DecidedAt: zeroTime,
		}
		_, err := tx.NewInsert().Model(&row).On(`CONFLICT (id) DO UPDATE SET what = EXCLUDED.what, requested_by = EXCLUDED.requested_by,
			requested_at = EXCLUDED.requested_at, state = EXCLUDED.state, decided_by = '', decided_at = EXCLUDED.decided_at, reason = ''
			WHERE approval_row.state = 'superseded'`).Exec(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

// leafBy is who a leaf says acted.
func leafBy(l store.Leaf) string {
	var body struct {
		Body struct {
			By string `json:"by"`
		} `json:"body"`
	}
	if json.Unmarshal(l.Body, &body) != nil {
		return "" // a leaf of no act that names anybody
	}
	return body.Body.By
}
