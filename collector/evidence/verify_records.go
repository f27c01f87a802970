package evidence

import (
	"fmt"
	"reflect"

	"github.com/patchproof/patchproof/collector/store"
)

// token takes in a token's leaf. One without scopes is from before there were
// any, when every token could do everything and its author was not kept beside it.
func (s *said) token(l store.Leaf) error {
	var b TokenBody
	if err := OpenLeaf(l, &b); err != nil {
		return err
	}
	t := store.Token{Name: b.Name, Hash: b.Hash, CreatedAt: l.At, CreatedBy: b.By, Scopes: b.Scopes, ExpiresAt: b.ExpiresAt}
	if len(b.Scopes) == 0 {
		t.Scopes, t.CreatedBy = []string{"admin"}, ""
	}
	s.tokens[b.Name] = t
	return nil
}

func (s *said) tokenEnd(l store.Leaf) error {
	var b TokenEndBody
	if err := OpenLeaf(l, &b); err != nil {
		return err
	}
	t, ok := s.tokens[b.Name]
	if !ok || !t.RevokedAt.IsZero() {
		return fmt.Errorf("it revokes token %q, which was not in use then", b.Name)
	}
	t.RevokedAt, t.RevokedBy = l.At, b.By
	s.tokens[b.Name] = t
	return nil
}

// policy takes in a policy's leaf. One without an effective instant is from
// before there were any: it came into force when it was applied.
func (s *said) policy(l store.Leaf) error {
	var b PolicyBody
	if err := OpenLeaf(l, &b); err != nil {
		return err
	}
	p := store.PolicyRecord{
		Leaf: l.Index, Digest: b.Digest, Source: []byte(b.Source), AppliedAt: l.At,
		EffectiveAt: b.EffectiveAt, By: b.By, Looser: b.Looser,
	}
	if b.EffectiveAt.IsZero() {
		p.EffectiveAt, p.By = l.At, ""
	}
	s.policies[l.Index] = p
	return nil
}

// checkPolicies holds every applied policy against its leaf.
func (r *run) checkPolicies() error {
	rows, err := r.Store.PolicyHistory(r.ctx)
	if err != nil {
		return r.fault("policies", err)
	}
	for _, p := range rows {
		want, ok := r.said.policies[p.Leaf]
		delete(r.said.policies, p.Leaf)
		p.Source = []byte(Digest(p.Source))
		switch {
		case !ok:
			r.problem("policy", "no leaf says that policy %s was applied", p.Digest)
		case !reflect.DeepEqual(p, want):
			r.problem("policy", "policy %s is not what leaf %d says was applied, %s", p.Digest, p.Leaf, want.Digest)
		}
	}
	for leaf, p := range r.said.policies {
		r.problem("policy", "policy %s was applied with leaf %d and has no row: it was removed", p.Digest, leaf)
	}
	return nil
}

// checkTokens holds every token against the leaves that made and revoked it. When
// one was last used is not evidence.
func (r *run) checkTokens() error {
	tokens, err := r.Store.Tokens(r.ctx)
	if err != nil {
		return r.fault("tokens", err)
	}
	for _, t := range tokens {
		want, ok := r.said.tokens[t.Name]
		delete(r.said.tokens, t.Name)
		t.LastUsed = want.LastUsed
		switch {
		case !ok:
			r.problem("token "+t.Name, "no leaf says that it was made")
		case !reflect.DeepEqual(t, want):
			r.problem("token "+t.Name, "it is not what was recorded when it was made or revoked")
		}
	}
	for name := range r.said.tokens {
		r.problem("token "+name, "it was made and has no row: it was removed")
	}
	return nil
}
