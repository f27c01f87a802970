package access

import (
	"context"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/trust"
)

// Keeper makes and ends tokens, each act with its evidence leaf.
type Keeper struct {
	Store store.Tokens
	Now   func() time.Time

	// acts lets one act follow the other: whether a token is the last of its kind
	// is looked up and then acted on.
	acts sync.Mutex
}

// Request is what a new token is to be.
type Request struct {
	Name   string
	Scopes []string
	// TTL is how long it lives, 0 without end.
	TTL time.Duration
}

// The shortest and longest life of a token that has an end.
const (
	MinTTL = time.Minute
	MaxTTL = 10 * 365 * 24 * time.Hour
)

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Create makes a token and returns its secret, which nobody can ask for again.
// [ErrInvalid] when it cannot be, [store.ErrExists] when the name was ever used.
func (k *Keeper) Create(ctx context.Context, r Request, by string) (secret string, t store.Token, err error) {
	if t, err = k.fresh(r, by); err != nil {
		return "", t, err
	}
	k.acts.Lock()
	defer k.acts.Unlock()
	secret, t.Hash, err = trust.NewToken()
	if err != nil {
		return "", t, fmt.Errorf("make token: %w", err)
	}
	leaf, err := evidence.TokenLeaf(t, by)
	if err != nil {
		return "", t, err
	}
	if err := k.Store.AddToken(ctx, t, leaf); err != nil {
		return "", t, err
	}
	return secret, t, nil
}

func (k *Keeper) fresh(r Request, by string) (store.Token, error) {
	t := store.Token{Name: r.Name, CreatedAt: k.now(), CreatedBy: by}
	if !tokenName.MatchString(r.Name) {
		return t, fmt.Errorf("%w: its name is up to 64 letters, digits, dots, dashes and underscores, and begins with a letter or digit", ErrInvalid)
	}
	var err error
	if t.Scopes, err = parseScopes(r.Scopes); err != nil {
		return t, err
	}
	switch {
	case r.TTL == 0:
	case r.TTL < MinTTL || r.TTL > MaxTTL:
		return t, fmt.Errorf("%w: it is to live for %s; a life is from %s to 10 years", ErrInvalid, r.TTL, MinTTL)
	default:
		t.ExpiresAt = t.CreatedAt.Add(r.TTL)
	}
	return t, nil
}

// Revoke ends a token for good. [store.ErrNotFound] when there is none of the
// name, [store.ErrConflict] when it was revoked before, [ErrLastAdmin] when
// nobody could make tokens after.
func (k *Keeper) Revoke(ctx context.Context, name, by string) (store.Token, error) {
	k.acts.Lock()
	defer k.acts.Unlock()
	all, err := k.Store.Tokens(ctx)
	if err != nil {
		return store.Token{}, err
	}
	at := k.now()
	var found store.Token
	others := 0
	for _, t := range all {
		switch {
		case t.Name == name:
			found = t
		case Allows(t, Admin) && Usable(t, at) == nil:
			others++
		}
	}
	if others == 0 && Allows(found, Admin) && Usable(found, at) == nil {
		return found, fmt.Errorf("token %q: %w", name, ErrLastAdmin)
	}
	leaf, err := evidence.TokenEndLeaf(name, by, at)
	if err != nil {
		return found, err
	}
	if _, err := k.Store.RevokeToken(ctx, name, by, at, leaf); err != nil {
		return found, err
	}
	found.RevokedAt, found.RevokedBy = at, by
	return found, nil
}

// List lists all tokens by name, those that have ended too.
func (k *Keeper) List(ctx context.Context) ([]store.Token, error) { return k.Store.Tokens(ctx) }

func (k *Keeper) now() time.Time { return k.Now().UTC().Truncate(time.Microsecond) }
