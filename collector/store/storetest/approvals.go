package storetest

import (
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
)

var approvals = []test{
	{"DecidedOnce", approvalDecided},
	{"NeverByWhoAsked", approvalOwn},
	{"SupersededAndAskedAgain", approvalSuperseded},
}

func asked(id, by string) store.Approval {
	return store.Approval{
		ID: id, Cause: finding.CauseClassification, Subject: "A1", What: "exposure internet to internal",
		RequestedBy: by, RequestedAt: rounded(t0), State: store.ApprovalPending,
	}
}

// ask records a request with an assessment of A1, which is trusted once.
func ask(t *testing.T, s store.Store, current string, rs ...store.Approval) {
	t.Helper()
	if err := s.MarkAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	apply(t, s, store.Assessment{Mark: markOf(t, s, "A1"), At: t0, Classification: current, Requests: rs})
}

func decision(id, by string, state store.ApprovalState) store.Approval {
	return store.Approval{ID: id, DecidedBy: by, DecidedAt: after(time.Hour), State: state, Reason: "it's so"}
}

func approvalDecided(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	ask(t, s, "R1", asked("R1", "op"))
	ask(t, s, "R1", asked("R1", "someone else")) // asked for already
	wantEqual(t, "pending", must[store.Approval](t)(s.Approval(t.Context(), "R1")), asked("R1", "op"))
	clean(t, s)
	if _, err := s.DecideApproval(t.Context(), decision("R1", "boss", store.ApprovalGranted), badLeaf()); err == nil {
		t.Error("a leaf without a kind was accepted")
	}
	wantEqual(t, "after a failing leaf", must[store.Approval](t)(s.Approval(t.Context(), "R1")).State, store.ApprovalPending)
	must[int64](t)(s.DecideApproval(t.Context(), decision("R1", "boss", store.ApprovalGranted), leaf("approval")))
	want := asked("R1", "op")
	want.State, want.DecidedBy, want.DecidedAt, want.Reason = store.ApprovalGranted, "boss", rounded(after(time.Hour)), "it's so"
	wantEqual(t, "granted", must[[]store.Approval](t)(s.Approvals(t.Context())), []store.Approval{want})
	wantEqual(t, "marks", len(marks(t.Context(), t, s)), 1)
	_, err := s.DecideApproval(t.Context(), decision("R1", "boss", store.ApprovalDenied), leaf("approval"))
	wantErr(t, "again", err, store.ErrConflict)
	_, err = s.DecideApproval(t.Context(), decision("R2", "boss", store.ApprovalDenied), leaf("approval"))
	wantErr(t, "nothing asked", err, store.ErrNotFound)
}

func approvalOwn(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	ask(t, s, "R1", asked("R1", "op"))
	for _, by := range []string{"op", ""} {
		_, err := s.DecideApproval(t.Context(), decision("R1", by, store.ApprovalGranted), leaf("approval"))
		wantErr(t, "decided by "+by, err, store.ErrOwnRequest)
	}
	ask(t, s, "R2", asked("R2", ""))
	_, err := s.DecideApproval(t.Context(), decision("R2", "boss", store.ApprovalGranted), leaf("approval"))
	wantErr(t, "nobody knows who asked", err, store.ErrOwnRequest)
}

func approvalSuperseded(t *testing.T, s store.Store) {
	trust(t, s, "A1")
	ask(t, s, "R1", asked("R1", "op"))
	must[int64](t)(s.DecideApproval(t.Context(), decision("R1", "boss", store.ApprovalGranted), leaf("approval")))
	ask(t, s, "R2") // the attributes are others now
	wantEqual(t, "a spent grant", must[store.Approval](t)(s.Approval(t.Context(), "R1")).State, store.ApprovalSuperseded)
	ask(t, s, "R1", asked("R1", "op2"))
	wantEqual(t, "asked again", must[store.Approval](t)(s.Approval(t.Context(), "R1")), asked("R1", "op2"))
}
