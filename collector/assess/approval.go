package assess

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/lifecycle"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
)

// classification is what of an asset's attributes and of the policy in force may
// be taken over, and what waits.
type classification struct {
	// force binds new findings; left says what of the attributes waits.
	force store.Attributes
	left  []string
	// request and policy are the requests for the attributes and for the policy.
	request, policy lifecycle.Request
}

// inForce holds an asset's attributes against those in force. What nobody had
// said before is taken over; what is looser than what somebody said waits.
func (a *Assessor) inForce(ctx context.Context, as store.Asset, now time.Time) (*classification, error) {
	c, err := a.standing(ctx, as)
	if err != nil {
		return nil, err
	}
	if as.InForce == nil || c.request.Grant != nil {
		return c, nil
	}
	have, want := slaAsset(*as.InForce), slaAsset(as.Attributes)
	if have.Exposure == sla.UnknownExposure {
		have.Exposure = want.Exposure
	}
	if have.Environment == sla.UnknownEnvironment {
		have.Environment = want.Environment
	}
	got, left, err := lifecycle.Tighten(have, want, func(have, try sla.Asset) (bool, error) {
		return lifecycle.Looser(a.policy, have, try, now)
	})
	if err != nil {
		return nil, fmt.Errorf("compare classifications: %w", err)
	}
	c.left = left
	c.force.Class, c.force.Exposure, c.force.Environment = got.Class, got.Exposure, got.Environment
	c.force.Core, c.force.CrownJewel, c.force.ColdWallet, c.force.HotWallet = got.Core, got.CrownJewel, got.ColdWallet, got.HotWallet
	return c, nil
}

// standing is an asset's classification as it is, with the requests for it and
// for the policy.
func (a *Assessor) standing(ctx context.Context, as store.Asset) (*classification, error) {
	c := &classification{force: as.Attributes}
	var err error
	if c.request, err = a.request(ctx, classificationRequest(as)); err != nil {
		return nil, err
	}
	c.policy, err = a.request(ctx, finding.ApprovalID(finding.CausePolicy, a.policy.Digest, ""))
	return c, err
}

// request finds whether a request was granted.
func (a *Assessor) request(ctx context.Context, id string) (lifecycle.Request, error) {
	r := lifecycle.Request{ID: id}
	p, err := a.past.Approval(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("read approval %s: %w", id, err)
	}
	if p.State == store.ApprovalGranted {
		r.Grant = &lifecycle.Grant{ID: id, By: p.DecidedBy, At: p.DecidedAt}
	}
	return r, nil
}

// requests are what waits for approval after the findings were dated.
func (c *classification) requests(as store.Asset, a *Assessor, f *fold) []store.Approval {
	words := map[finding.Cause]string{}
	if len(c.left) > 0 {
		words[finding.CauseClassification] = strings.Join(c.left, ", ")
	}
	for _, cur := range f.findings {
		for _, h := range cur.Clock.Held {
			if h.Cause == finding.CausePolicy || len(h.What) > len(words[h.Cause]) {
				words[h.Cause] = h.What
			}
		}
	}
	var out []store.Approval
	if w := words[finding.CauseClassification]; w != "" {
		out = append(out, store.Approval{
			ID: c.request.ID, Cause: finding.CauseClassification, Subject: as.ID, What: w,
			RequestedBy: as.AttributesBy, RequestedAt: as.AttributesAt,
		})
	}
	if w := words[finding.CausePolicy]; w != "" {
		out = append(out, store.Approval{
			ID: c.policy.ID, Cause: finding.CausePolicy, Subject: a.policy.Digest, What: w + " for findings from before it",
			RequestedBy: a.policyBy, RequestedAt: a.effective,
		})
	}
	return out
}

// slaAsset restates attributes in the engine's terms.
func slaAsset(at store.Attributes) sla.Asset {
	return sla.Asset{
		Class:       cmp.Or(at.Class, sla.Compute),
		Exposure:    cmp.Or(at.Exposure, sla.UnknownExposure),
		Environment: cmp.Or(at.Environment, sla.UnknownEnvironment),
		Core:        at.Core, CrownJewel: at.CrownJewel, ColdWallet: at.ColdWallet, HotWallet: at.HotWallet,
		HighDataSensitivity: at.DataSensitivity == "high",
	}
}

// classificationRequest is the id of the request to let an asset's attributes
// move deadlines later.
func classificationRequest(as store.Asset) string {
	a := slaAsset(as.Attributes)
	return finding.ApprovalID(finding.CauseClassification, as.ID, fmt.Sprintf("%s %s %s core=%t jewel=%t cold=%t hot=%t",
		a.Class, a.Exposure, a.Environment, a.Core, a.CrownJewel, a.ColdWallet, a.HotWallet))
}
