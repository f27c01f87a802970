package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/patchproof/patchproof/collector/store"
)

// Approval is a request to let deadlines move later, and what was decided.
type Approval struct {
	ID          string    `json:"id"`
	Cause       string    `json:"cause" enum:"classification,policy"`
	Subject     string    `json:"subject" doc:"The asset, or the digest of the policy."`
	What        string    `json:"what"`
	RequestedBy string    `json:"requested_by" doc:"The token whose act asks for it; it cannot decide."`
	RequestedAt time.Time `json:"requested_at"`
	State       string    `json:"state" enum:"pending,granted,denied,superseded"`
	DecidedBy   string    `json:"decided_by,omitempty"`
	DecidedAt   time.Time `json:"decided_at,omitzero"`
	Reason      string    `json:"reason,omitempty"`
}

// ApprovalList is every request, pending ones first.
type ApprovalList struct {
	AsOf      time.Time  `json:"as_of"`
	Count     int        `json:"count"`
	Approvals []Approval `json:"approvals"`
}

// Decision says why a request is granted or denied.
type Decision struct {
	Reason string `json:"reason" minLength:"1" maxLength:"1000"`
}

type decisionInput struct {
	ID   string `path:"id" maxLength:"64"`
	Body Decision
}

func (s *server) approvals(api huma.API) {
	get(s, api, "/v1/approvals", "list-approvals", "Requests to let deadlines move later, pending ones first", s.listApprovals)
	act(s, api, "/v1/approvals/{id}/grant", "grant-approval", "Grant what somebody else asked for", s.decide(true))
	act(s, api, "/v1/approvals/{id}/deny", "deny-approval", "Deny what somebody else asked for", s.decide(false))
}

func (s *server) listApprovals(ctx context.Context, _ *none) (ApprovalList, error) {
	all, err := s.Operator.Approvals(ctx)
	out := ApprovalList{AsOf: s.asOf(), Count: len(all), Approvals: []Approval{}}
	for _, a := range all {
		out.Approvals = append(out.Approvals, approvalInfo(a))
	}
	return out, err
}

func (s *server) decide(grant bool) func(context.Context, *decisionInput) (Approval, error) {
	return func(ctx context.Context, in *decisionInput) (Approval, error) {
		a, err := s.Operator.DecideApproval(ctx, in.ID, grant, in.Body.Reason, tokenName(ctx))
		return approvalInfo(a), err
	}
}

func approvalInfo(a store.Approval) Approval {
	return Approval{
		ID: a.ID, Cause: string(a.Cause), Subject: a.Subject, What: a.What, RequestedBy: a.RequestedBy, RequestedAt: a.RequestedAt,
		State: string(a.State), DecidedBy: a.DecidedBy, DecidedAt: a.DecidedAt, Reason: a.Reason,
	}
}
