// Package access decides who may call the collector's API: named tokens with
// scopes and an end, kept as hashes, and limits on how often they are used.
//
// Invariants:
//   - A token's secret is returned once, when it is made, and is kept nowhere.
//   - What is not known to be allowed is refused: a token without a scope may do
//     nothing, one that has expired or was revoked is like none.
//   - Nobody can lock somebody else out: failed attempts count against the address
//     they come from, and never stop a token that is good.
//   - What callers can make it remember is bounded.
//   - A revoked token's name is never given to another: evidence names it.
package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/store"
)

// Scope is what a token may do.
type Scope string

// Scopes. Admin implies the others, none of which implies another.
const (
	// Read answers questions.
	Read Scope = "read"
	// Operate is the daily work: trusting hosts, importing feeds.
	Operate Scope = "operate"
	// Approve grants what somebody else asked for.
	Approve Scope = "approve"
	// Admin is everything, tokens and the policy among it.
	Admin Scope = "admin"
)

var scopes = []Scope{Read, Operate, Approve, Admin}

// Errors that Guard and Keeper return.
var (
	// ErrNoToken: the request carries no token.
	ErrNoToken = errors.New("a token is needed: send it as 'Authorization: Bearer TOKEN'")
	// ErrUnknown: nobody was given this token.
	ErrUnknown = errors.New("the token is not known")
	// ErrExpired: the token's time is over.
	ErrExpired = errors.New("the token has expired")
	// ErrRevoked: somebody ended the token.
	ErrRevoked = errors.New("the token was revoked")
	// ErrInvalid: what a new token was to be cannot be.
	ErrInvalid = errors.New("cannot make such a token")
	// ErrLastAdmin: without the token nobody could make another.
	ErrLastAdmin = errors.New("it is the last token with the scope admin: make another first")
)

// Throttled is the error for a caller that comes too often.
type Throttled struct{ After time.Duration }

func (t *Throttled) Error() string {
	return fmt.Sprintf("too many requests; try again in %s", t.After.Round(time.Second))
}

// Allows reports whether a token has a scope.
func Allows(t store.Token, need Scope) bool {
	return need != "" && (slices.Contains(t.Scopes, string(need)) || slices.Contains(t.Scopes, string(Admin)))
}

// Usable says why a token is not, nil when it is.
func Usable(t store.Token, at time.Time) error {
	switch {
	case !t.RevokedAt.IsZero():
		return ErrRevoked
	case !t.ExpiresAt.IsZero() && !at.Before(t.ExpiresAt):
		return ErrExpired
	default:
		return nil
	}
}

// parseScopes reads the words of scopes, in our order and each once.
func parseScopes(words []string) ([]string, error) {
	if len(words) == 0 {
		return nil, fmt.Errorf("%w: it has no scope; give one or more of %s", ErrInvalid, scopeWords())
	}
	for _, w := range words {
		if !slices.Contains(scopes, Scope(w)) {
			return nil, fmt.Errorf("%w: there is no scope %q; give %s", ErrInvalid, w, scopeWords())
		}
	}
	var out []string
	for _, s := range scopes {
		if slices.Contains(words, string(s)) {
			out = append(out, string(s))
		}
	}
	return out, nil
}

func scopeWords() string {
	words := make([]string, len(scopes))
	for i, s := range scopes {
		words[i] = string(s)
	}
	return strings.Join(words, ", ")
}
