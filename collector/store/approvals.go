package store

import (
	"context"
	"errors"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
)

// ErrOwnRequest is the error for one who asked and decides.
var ErrOwnRequest = errors.New("nobody decides on a request of their own")

// ApprovalState says where a request stands.
type ApprovalState string

// States of a request.
const (
	ApprovalPending    ApprovalState = "pending"
	ApprovalGranted    ApprovalState = "granted"
	ApprovalDenied     ApprovalState = "denied"
	ApprovalSuperseded ApprovalState = "superseded" // what was asked for is not wanted any more
)

// Approval is a request to let deadlines move later, and what was decided.
type Approval struct {
	ID    string
	Cause finding.Cause
	// Subject is the asset, or the digest of the policy.
	Subject string
	What    string
	// RequestedBy is the name of the token whose act asks for it.
	RequestedBy string
	RequestedAt time.Time
	State       ApprovalState
	DecidedBy   string
	DecidedAt   time.Time
	Reason      string
}

// Approvals keeps requests and decisions. Requests are recorded with the
// assessment that finds them.
type Approvals interface {
	// Approvals lists all: pending ones first, then by request, newest first.
	Approvals(ctx context.Context) ([]Approval, error)
	Approval(ctx context.Context, id string) (Approval, error)
	// DecideApproval grants or denies a pending request, marks the assets it speaks
	// of, and appends the leaf. ErrConflict when it is not pending; ErrOwnRequest
	// when a.DecidedBy is who asked, or who asked is not on record.
	DecideApproval(ctx context.Context, a Approval, leaf Leaf) (int64, error)
}
