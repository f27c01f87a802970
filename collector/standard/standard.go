// Package standard keeps the company's remediation policy as a record: what was
// applied, by whom, when it comes into force, and what it made looser.
//
// Invariants:
//   - A policy is applied from bytes that somebody sent, never read again from a
//     file; it is known by their digest.
//   - The policy in force at an instant is a function of the history alone, and no
//     policy comes into force before it was applied: what was in force on a past
//     day never changes.
//   - A policy that can give a later date than the one it replaces is not applied
//     unless whoever applies it says so; the record names each such cell.
//   - Each application is an evidence leaf.
package standard

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
)

// Errors that Keeper returns.
var (
	// ErrPast: the effective date lies in the past.
	ErrPast = errors.New("a policy cannot come into force in the past")
	// ErrDate: the effective date is no date.
	ErrDate = errors.New("not a date YYYY-MM-DD of the years 1970 to 2149")
	// ErrReference: what was asked for names no policy, or several.
	ErrReference = errors.New("not a policy")
)

// Invalid is the error for a policy file with errors.
type Invalid struct{ Problems []policy.Problem }

func (e *Invalid) Error() string { return policy.ErrInvalid.Error() }
func (e *Invalid) Unwrap() error { return policy.ErrInvalid }

// Looser is the error for a policy that makes cells looser, which nobody owned.
type Looser struct {
	// Against is the digest of the policy it would replace.
	Against string
	Changes []policy.Change
}

func (e *Looser) Error() string {
	return fmt.Sprintf("it is looser than policy %.12s, which it replaces", e.Against)
}

// Keeper applies policies and answers for those that were.
type Keeper struct {
	Store store.Policies
	Now   func() time.Time
	// Wake is called after a policy was applied. May be nil.
	Wake func()

	// acts lets one application follow the other: what it replaces is looked up and
	// then acted on.
	acts sync.Mutex
}

// Request is a policy that somebody wants in force.
type Request struct {
	Source []byte
	// Effective is the local day, in the policy's own zone, from which it is in
	// force; empty for at once.
	Effective finding.Date
	// AcceptLooser owns what it makes looser.
	AcceptLooser bool
}

// Applied says what became of a request.
type Applied struct {
	Record store.PolicyRecord
	// Unchanged: this policy is in force then anyway; nothing was recorded.
	Unchanged bool
	// Against is the digest of the policy it replaces, empty for the first, Changes
	// how it differs.
	Against string
	Changes []policy.Change
	// Warnings are doubts about the file.
	Warnings []policy.Problem
}

// Apply records a policy. The error is an [*Invalid], a [*Looser], [ErrPast], one
// on a date that is none, or the store's.
func (k *Keeper) Apply(ctx context.Context, r Request, by string) (Applied, error) {
	p, problems, err := policy.Parse(r.Source)
	if err != nil {
		return Applied{}, &Invalid{Problems: problems}
	}
	k.acts.Lock()
	defer k.acts.Unlock()
	history, err := k.Store.PolicyHistory(ctx)
	if err != nil {
		return Applied{}, err
	}
	now := k.Now().UTC().Truncate(time.Microsecond)
	at, err := effective(p, r.Effective, now)
	if err != nil {
		return Applied{}, err
	}
	if last := lastApplied(history); at.Before(last) {
		at = last // the clock was set back; it still comes after what was in force
	}
	out := Applied{Warnings: problems}
	out.Record = store.PolicyRecord{Digest: p.Digest, Source: bytes.Clone(r.Source), AppliedAt: now, EffectiveAt: at, By: by}
	if old, ok := InForce(history, at); ok {
		if err := out.compare(old, p); err != nil {
			return out, err
		}
	}
	if out.Unchanged {
		return out, nil
	}
	looser := policy.Loosened(out.Changes)
	if len(looser) > 0 && !r.AcceptLooser {
		return out, &Looser{Against: out.Against, Changes: looser}
	}
	for _, c := range looser {
		out.Record.Looser = append(out.Record.Looser, store.LooserCell{Path: c.Path, From: c.From, To: c.To})
	}
	return out, k.record(ctx, &out.Record)
}

// effective is the instant a policy comes into force: the start of a local day in
// its own zone, or now. Today means now.
func effective(p *sla.Policy, d finding.Date, now time.Time) (time.Time, error) {
	if d == "" {
		return now, nil
	}
	at, err := p.StartOf(d)
	switch today := p.LocalDate(now); {
	case err != nil:
		return now, fmt.Errorf("effective date %q: %w", string(d), ErrDate)
	case d < today:
		return now, fmt.Errorf("effective date %s, today is %s in %s: %w", d, today, p.Zone, ErrPast)
	case d == today:
		return now, nil
	default:
		return at.UTC(), nil
	}
}

func (a *Applied) compare(old store.PolicyRecord, p *sla.Policy) error {
	a.Against = old.Digest
	if old.Digest == p.Digest {
		a.Unchanged, a.Record = true, old
		return nil
	}
	was, err := policy.Read(old.Source)
	if err != nil {
		return fmt.Errorf("read policy %s, which it replaces: %w", old.Digest, err)
	}
	a.Changes = policy.Diff(was, p)
	return nil
}

// lastApplied is the latest instant at which a policy was applied.
func lastApplied(history []store.PolicyRecord) time.Time {
	var last time.Time
	for _, r := range history {
		if r.AppliedAt.After(last) {
			last = r.AppliedAt
		}
	}
	return last
}

// record writes a policy down.
func (k *Keeper) record(ctx context.Context, r *store.PolicyRecord) error {
	leaf, err := evidence.PolicyLeaf(*r, r.By)
	if err != nil {
		return err
	}
	if r.Leaf, err = k.Store.ApplyPolicy(ctx, *r, leaf); err != nil {
		return err
	}
	if k.Wake != nil {
		k.Wake()
	}
	return nil
}

// Entry is one policy of the history, with its time in force.
type Entry struct {
	store.PolicyRecord
	// Until is when the next one replaces it, zero when none does. It is not after
	// EffectiveAt for one that another replaced before it came into force.
	Until time.Time
}

// In reports whether the entry is in force at an instant.
func (e Entry) In(at time.Time) bool {
	return !at.Before(e.EffectiveAt) && (e.Until.IsZero() || at.Before(e.Until))
}

// Never reports whether the entry was replaced before it came into force.
func (e Entry) Never() bool { return !e.Until.IsZero() && !e.Until.After(e.EffectiveAt) }

// Timeline lays a history out in the order in which its policies come into force.
func Timeline(history []store.PolicyRecord) []Entry {
	out := make([]Entry, len(history))
	for i, r := range history {
		out[i].PolicyRecord = r
	}
	slices.SortFunc(out, func(a, b Entry) int {
		return cmp.Or(a.EffectiveAt.Compare(b.EffectiveAt), cmp.Compare(a.Leaf, b.Leaf))
	})
	for i := range len(out) - 1 {
		out[i].Until = out[i+1].EffectiveAt
	}
	return out
}

// InForce is the policy in force at an instant; false before the first.
func InForce(history []store.PolicyRecord, at time.Time) (store.PolicyRecord, bool) {
	for _, e := range slices.Backward(Timeline(history)) {
		if !at.Before(e.EffectiveAt) {
			return e.PolicyRecord, true
		}
	}
	return store.PolicyRecord{}, false
}

// References that are no digest.
const (
	// Current names the policy in force.
	Current = "current"
	// Shipped names the policy this program ships, applied or not.
	Shipped = "default"
)

// shortest is how much of a digest names a policy.
const shortest = 8

var digestForm = regexp.MustCompile(`^[0-9a-f]{8,64}$`)

// IsReference reports whether a word can name a policy of the record.
func IsReference(word string) bool {
	return word == Current || word == Shipped || digestForm.MatchString(word)
}

// Find returns the policy a reference names: a digest, its first digits, Current or
// Shipped. A digest that was applied more than once gives the newest record.
// [ErrReference] when it is no reference or names several, [store.ErrNotFound]
// when it names none.
func (k *Keeper) Find(ctx context.Context, ref string) (store.PolicyRecord, error) {
	switch {
	case ref == Current:
		return k.Store.PolicyInForce(ctx, k.Now())
	case ref == Shipped:
		p, source := policy.Default()
		return store.PolicyRecord{Leaf: -1, Digest: p.Digest, Source: source}, nil
	case !digestForm.MatchString(ref):
		return store.PolicyRecord{}, fmt.Errorf("%q: %w; give a digest (its first %d digits or more), %s or %s", ref, ErrReference, shortest, Current, Shipped)
	}
	history, err := k.Store.PolicyHistory(ctx)
	if err != nil {
		return store.PolicyRecord{}, err
	}
	var found *store.PolicyRecord
	for i := range history {
		if !strings.HasPrefix(history[i].Digest, ref) {
			continue
		}
		if found != nil && found.Digest != history[i].Digest {
			return store.PolicyRecord{}, fmt.Errorf("%q names policies %s and %s: %w; give more digits", ref, found.Digest, history[i].Digest, ErrReference)
		}
		found = &history[i]
	}
	if found == nil {
		return store.PolicyRecord{}, fmt.Errorf("policy %s: %w", ref, store.ErrNotFound)
	}
	return *found, nil
}

// History is every policy that was applied, in the order in which they come into force.
func (k *Keeper) History(ctx context.Context) ([]Entry, error) {
	history, err := k.Store.PolicyHistory(ctx)
	if err != nil {
		return nil, err
	}
	return Timeline(history), nil
}
