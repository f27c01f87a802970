package estate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/store"
)

// Words are what an operator says of an asset by hand.
type Words struct {
	// Name renames it; empty leaves its name.
	Name string
	// Set maps attributes to their values; an empty one takes the operator's word
	// back, and then rules, lists and claims hold.
	Set map[string]string
	// Reason says why, By who says it.
	Reason, By string
}

// Said says what came of an operator's words.
type Said struct {
	Asset, Name string
	// Attributes stand now; what is looser moves no deadline before it is approved.
	Attributes store.Attributes
	Leaf       int64 // -1 when all of it had been said before
}

// Set takes an operator's word on an asset. What follows from it stands at once;
// deadlines move later only when somebody else approves.
func (s *Service) Set(ctx context.Context, idOrName string, w Words) (Said, error) {
	if err := errors.Join(checkReason(w.Reason), checkSet(w)); err != nil {
		return Said{}, fmt.Errorf("set attributes: %w", err)
	}
	a, err := s.Store.Asset(ctx, idOrName)
	if err != nil {
		return Said{}, fmt.Errorf("set attributes: %w", err)
	}
	out := Said{Asset: a.ID}
	at := s.now()
	out.Leaf, err = s.Store.Reclassify(ctx, []string{a.ID}, func(e store.Estate) (store.Reclassification, error) {
		set, err := e.RuleSet()
		if err != nil {
			return store.Reclassification{}, err
		}
		d, err := declaration(&e, a.ID, w)
		if err != nil {
			return store.Reclassification{}, err
		}
		st := standingOf(&e, a.ID)
		out.Name, out.Attributes = st.Name, st.Attributes
		if d == nil {
			return store.Reclassification{}, nil
		}
		d.Declared.By, d.Declared.At = w.By, at
		st.Name, st.Declared = d.Name, d.Declared
		r := store.Reclassification{Declared: d, Changed: derive(set, classify.NewRoster(e.Listed, renamed(e.Identities, d)), e.Standings)}
		out.Name = d.Name
		for i := range r.Changed {
			if r.Changed[i].Asset == a.ID {
				out.Attributes = r.Changed[i].Attributes
			}
		}
		return seal(r, evidence.ClassificationBody{Act: evidence.ActSet, By: w.By, Set: &evidence.SetBody{
			Asset: a.ID, Name: d.Name, Declared: d.Declared.Attributes, Reason: w.Reason,
		}}, at)
	})
	if err != nil {
		return Said{}, fmt.Errorf("set attributes: %w", err)
	}
	s.Log.Info("asset attributes set", "asset", a.ID, "by", w.By, "leaf", out.Leaf)
	return out, nil
}

// checkSet reports everything that is wrong with an operator's words at once.
func checkSet(w Words) error {
	var errs []error
	fault := func(err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%w: %w", ErrInvalid, err))
		}
	}
	if w.Name == "" && len(w.Set) == 0 {
		fault(errors.New("nothing is said of the asset"))
	}
	if w.Name != "" {
		fault(classify.CheckName(w.Name))
	}
	var try store.Attributes
	for n, v := range w.Set {
		fault(try.Set(classify.Attribute(n), v))
	}
	return errors.Join(errs...)
}

// declaration is what an asset's declaration becomes, nil when it stays.
func declaration(e *store.Estate, asset string, w Words) (*store.Declaration, error) {
	st := standingOf(e, asset)
	if st == nil {
		return nil, fmt.Errorf("asset %s: %w", asset, store.ErrNotFound)
	}
	d := &store.Declaration{Asset: asset, Name: st.Name, Declared: st.Declared}
	if w.Name != "" {
		d.Name = w.Name
	}
	for n, v := range w.Set {
		if err := d.Declared.Attributes.Set(classify.Attribute(n), v); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	if d.Name == st.Name && sameWords(d.Declared.Attributes, st.Declared.Attributes) {
		return nil, nil
	}
	return d, nil
}

// sameWords compares what is said, however it is spelt: unknown says nothing.
func sameWords(a, b store.Attributes) bool {
	return !slices.ContainsFunc(classify.All, func(n classify.Attribute) bool { return a.Get(n) != b.Get(n) })
}

func standingOf(e *store.Estate, asset string) *store.Standing {
	for i := range e.Standings {
		if e.Standings[i].Asset == asset {
			return &e.Standings[i]
		}
	}
	return nil
}

// renamed are identities with an asset's new name.
func renamed(ids []classify.Identity, d *store.Declaration) []classify.Identity {
	ids = slices.Clone(ids)
	for i := range ids {
		if ids[i].Asset == d.Asset {
			ids[i].Name = d.Name
			if d.Declared.Attributes.Account != "" {
				ids[i].Account = d.Declared.Attributes.Account
			}
		}
	}
	return ids
}

// ParseSet reads "owner=payments" and the like; name=NEW renames.
func ParseSet(args []string) (Words, error) {
	w := Words{Set: map[string]string{}}
	for _, arg := range args {
		n, v, ok := strings.Cut(arg, "=")
		n = strings.ReplaceAll(strings.TrimSpace(n), "-", "_")
		if !ok || n == "" {
			return w, fmt.Errorf("%w: %q: want ATTRIBUTE=VALUE, as owner=payments", ErrInvalid, arg)
		}
		if n == "name" {
			w.Name = v
			continue
		}
		w.Set[n] = v
	}
	return w, nil
}
