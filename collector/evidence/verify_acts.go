package evidence

import (
	"errors"
	"reflect"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/store"
)

// said is what the leaves say stands now: the last word of each.
type said struct {
	keys     map[string]string // key -> asset
	given    *Givens
	tokens   map[string]store.Token       // as the row has to be
	policies map[int64]store.PolicyRecord // by leaf, with the source's digest as its source
	epochs   []epochLeaf
	// declared, classified, listed, rules and imports: see classification.go.
	declared   map[string]classify.Declared
	classified map[string]*store.Classification
	listed     map[[2]string]classify.Listed
	rules      []ruled
	imports    int
	retired    map[string][]store.Retirement // what was said of each asset, oldest first
	// transport holds the transport keys an asset's reports name.
	transport map[string][]string
	// trusted are the keys that were trusted, in order of leaves.
	trusted []store.TrustedKey
	// feeds are as their leaves say, facts the digest of each kind's. oldFeeds are
	// those whose leaves do not name releases; old is set when some leaf is from
	// before leaves named what was written under them.
	feeds    map[string]store.FeedState
	facts    map[string]string
	oldFeeds map[string]bool
	old      bool
	// outcomes are the newest of each asset.
	outcomes map[string]*store.Outcome
	requests Requests
	// refused are the envelopes in quarantine.
	refused map[string]refused
	// decisions are those on suspicions of clones, in order of leaves.
	decisions []store.CloneDecision
}

// refused is an envelope in quarantine, as its leaves say.
type refused struct {
	QuarantineBody
	at time.Time
}

type epochLeaf struct {
	EpochBody
	leaf int64
}

func newSaid() said {
	return said{
		feeds: map[string]store.FeedState{}, facts: map[string]string{}, oldFeeds: map[string]bool{},
		outcomes: map[string]*store.Outcome{}, requests: NewRequests(), refused: map[string]refused{}, retired: map[string][]store.Retirement{},
		keys: map[string]string{}, given: NewGivens(), tokens: map[string]store.Token{}, policies: map[int64]store.PolicyRecord{},
		transport: map[string][]string{}, declared: map[string]classify.Declared{}, classified: map[string]*store.Classification{},
		listed: map[[2]string]classify.Listed{},
	}
}

// epochAt is the epoch of a log of some size. The first is 1.
func (s *said) epochAt(size int64) int64 {
	epoch := int64(1)
	for _, e := range s.epochs {
		if e.leaf < size {
			epoch = e.Epoch
		}
	}
	return epoch
}

// read takes in one leaf that is not a report's. Kinds it does not know are
// checked for form alone: a later version may have written them.
func (s *said) read(l store.Leaf, r *run) error {
	switch l.Kind {
	case KindTrust:
		var b TrustBody
		if err := OpenLeaf(l, &b); err != nil {
			return err
		}
		s.keys[b.Key] = b.Asset
		s.trusted = append(s.trusted, store.TrustedKey{Key: b.Key, Asset: b.Asset, TrustedAt: l.At, Leaf: l.Index})
		s.given.Trust(&b, l.At)
		s.declared[b.Asset] = classify.Declared{Attributes: b.Attributes, At: l.At}
		if b.Declared != nil {
			s.declared[b.Asset] = classify.Declared{Attributes: *b.Declared, By: b.By, At: l.At}
		}
	case KindAttributes:
		var b AttributesBody
		if err := OpenLeaf(l, &b); err != nil {
			return err
		}
		s.given.Set(&b, l.At)
		s.declared[b.Asset] = classify.Declared{Attributes: b.Attributes, At: l.At}
		delete(s.classified, b.Asset)
	case KindToken:
		return s.token(l)
	case KindTokenEnd:
		return s.tokenEnd(l)
	case KindApproval:
		return s.requests.Decide(l)
	case KindFeed:
		return r.feed(l)
	case KindFeedHeld:
		return s.feedHeld(l)
	case KindRetirement:
		var b RetirementBody
		if err := OpenLeaf(l, &b); err != nil {
			return err
		}
		s.retired[b.Asset] = append(s.retired[b.Asset], store.Retirement{Leaf: l.Index, Retired: b.Retired, At: b.Since, Recorded: l.At, Reason: b.Reason, By: b.By})
	case KindPolicy:
		return s.policy(l)
	case KindQuarantine, KindRelease:
		return s.quarantine(l)
	case KindLogEpoch:
		e := epochLeaf{leaf: l.Index}
		if err := OpenLeaf(l, &e.EpochBody); err != nil {
			return err
		}
		s.epochs = append(s.epochs, e)
	case KindClone:
		return s.clone(l)
	case KindAssessment:
		return r.assessment(l)
	case KindClassification:
		return r.classification(l)
	default:
		return OpenLeaf(l, nil)
	}
	return nil
}

// checkAsset holds an asset against the leaves that trusted and classified it.
func (r *run) checkAsset(a store.Asset, states []store.Report) error {
	where := "host " + a.ID
	if owner, ok := r.said.keys[a.Key]; !ok {
		r.problem(where, "no leaf says that its key %s was trusted", a.Key)
	} else if owner != a.ID {
		r.problem(where, "its key %s was trusted for host %s", a.Key, owner)
	}
	last, _ := r.said.given.Get(a.ID)
	if last.Name != a.Name || last.Attributes != a.Attributes {
		r.problem(where, "its name or attributes are not those that were last recorded")
	}
	if last.By != a.AttributesBy || !last.At.Equal(a.AttributesAt) {
		// Assets from before the store kept who set their attributes say nothing.
		if a.AttributesBy != "" || a.AttributesAt.UnixMicro() != 0 {
			r.problem(where, "its attributes were not set by %q at %s", a.AttributesBy, a.AttributesAt.Format(time.RFC3339))
		}
	}
	if i := slices.IndexFunc(r.said.trusted, func(k store.TrustedKey) bool { return k.Asset == a.ID }); i >= 0 && !r.said.trusted[i].TrustedAt.Equal(a.TrustedAt) {
		r.problem(where, "it was not trusted at %s", a.TrustedAt.Format(time.RFC3339))
	}
	if a.TransportKey != "" && !slices.Contains(r.said.transport[a.ID], a.TransportKey) {
		r.problem(where, "none of its reports names its transport key %s", a.TransportKey)
	}
	r.seen[a.ID] = true
	r.checkWord(where, a)
	if err := errors.Join(r.checkAssessed(where, a), r.checkRetirement(where, a)); err != nil {
		return err
	}
	return r.checkHeadOf(where, a, states)
}

// checkRetirement holds whether an asset is in use against what operators said.
func (r *run) checkRetirement(where string, a store.Asset) error {
	have, err := r.Store.Retirements(r.ctx, a.ID)
	if err != nil {
		return r.fault(where, err)
	}
	want := r.said.retired[a.ID]
	var last *store.Retirement
	if n := len(want); n > 0 {
		last = &want[n-1]
	}
	if len(have) != len(want) || len(want) > 0 && !reflect.DeepEqual(have, want) || !reflect.DeepEqual(a.Retirement, last) {
		r.problem(where, "whether it is in use is not what operators said")
	}
	return nil
}

// checkHeadOf holds what an asset shows as its latest state against its last report.
func (r *run) checkHeadOf(where string, a store.Asset, states []store.Report) error {
	if len(states) == 0 {
		if a.Head != nil {
			r.problem(where, "it shows the state of report %s, and has no report", a.Head.ReportID)
		}
		return nil
	}
	newest, err := r.checkLines(where, a, states)
	if err != nil || newest == "" {
		return err
	}
	last, err := r.Store.Report(r.ctx, newest)
	if err != nil {
		return r.fault(where, err)
	}
	if head := last.Head(); a.Head == nil || !reflect.DeepEqual(*a.Head, head) {
		r.problem(where, "its state is not that of its last report %s", last.ID)
	}
	return nil
}

// acts checks policy, tokens and findings, and that no host was removed.
func (r *run) acts() error {
	for id := range r.said.given.of {
		if !r.seen[id] {
			r.problem("host "+id, "it was trusted and has no row: it was removed")
		}
	}
	for _, step := range []func() error{r.checkPolicies, r.checkTokens, r.checkApprovals, r.checkDecisions, r.checkRetirements, r.checkClassifications, r.checkKeys, r.checkQuarantine, r.checkFeeds, r.checkFindings, r.checkAdvisories, r.checkDerived} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// checkFindings holds where findings stand against their own histories.
func (r *run) checkFindings() error {
	err := r.Store.CheckFindings(r.ctx, func(id, what string) { r.problem("finding "+id, "%s", what) })
	return r.fault("findings", err)
}

// checkAdvisories holds every normalised version of an advisory against its
// digest; which digests a feed carried is under the feed's leaves.
func (r *run) checkAdvisories() error {
	err := r.Store.CheckAdvisories(r.ctx, func(feed, id, what string) { r.problem("advisory "+id+" of "+feed, "%s", what) })
	return r.fault("advisories", err)
}

// checkKeys holds the keys that are trusted against the leaves that trusted them.
func (r *run) checkKeys() error {
	keys, err := r.Store.TrustedKeys(r.ctx)
	if err != nil {
		return r.fault("trusted keys", err)
	}
	for _, k := range keys {
		if !slices.Contains(r.said.trusted, k) {
			r.problem("key "+k.Key, "no leaf says that it was trusted so for host %s", k.Asset)
		}
	}
	if len(keys) != len(r.said.trusted) {
		r.problem("trusted keys", "%d are held, %d were trusted", len(keys), len(r.said.trusted))
	}
	return nil
}

// checkDerived recomputes what is kept twice, and counts the stored tree hashes:
// those that the leaves make were held against them one by one.
func (r *run) checkDerived() error {
	n, err := r.Store.HashCount(r.ctx)
	if err != nil {
		return r.fault("tree hashes", err)
	}
	if want := tlog.StoredHashCount(r.Covered); n != want {
		r.problem("tree hashes", "%d are stored, the %d leaves under checkpoints have %d", n, r.Covered, want)
	}
	err = r.Store.CheckDerived(r.ctx, func(where, what string) { r.problem(where, "%s", what) })
	return r.fault("derived tables", err)
}
