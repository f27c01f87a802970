package server

import (
	"context"
	"fmt"

	"github.com/patchproof/patchproof/collector/access"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/trust"
	"github.com/patchproof/patchproof/schema"
)

// firstTokenName names the token that is made on first start.
const firstTokenName = "first"

// byStart says in evidence that nobody asked for an act but the first start.
const byStart = "first start"

// firstPolicy applies the shipped standard when no policy was ever applied.
func (c *collector) firstPolicy(ctx context.Context) error {
	history, err := c.store.PolicyHistory(ctx)
	if err != nil || len(history) > 0 {
		return err
	}
	p, source := policy.Default()
	record := store.PolicyRecord{Digest: p.Digest, Source: source, AppliedAt: schema.Timestamp(c.o.Now()), By: byStart}
	leaf, err := evidence.PolicyLeaf(record, byStart)
	if err != nil {
		return fmt.Errorf("apply the shipped policy: %w", err)
	}
	if _, err := c.store.ApplyPolicy(ctx, record, leaf); err != nil {
		return fmt.Errorf("apply the shipped policy: %w", err)
	}
	c.log.Info("shipped policy applied", "digest", p.Digest)
	return nil
}

// firstToken makes an API token when nobody has one to make others with: on the
// first start, and after the last has expired. Who can start the collector and
// read its data directory could do all that it allows. The file comes before the
// row: a start that is cut short in between makes another, and nobody is left
// with a token known by its hash alone.
func (c *collector) firstToken(ctx context.Context) error {
	tokens, err := c.store.Tokens(ctx)
	if err != nil {
		return err
	}
	now, taken := schema.Timestamp(c.o.Now()), map[string]bool{}
	for _, t := range tokens {
		if access.Allows(t, access.Admin) && access.Usable(t, now) == nil {
			return nil
		}
		taken[t.Name] = true
	}
	name := firstTokenName
	for i := 2; taken[name]; i++ {
		name = fmt.Sprintf("%s-%d", firstTokenName, i)
	}
	text, hash, err := trust.NewToken()
	if err != nil {
		return fmt.Errorf("make the first token: %w", err)
	}
	if err := trust.ReplacePrivate(c.data.path(TokenFile), []byte(text+"\n")); err != nil {
		return fmt.Errorf("write the first token: %w", err)
	}
	t := store.Token{Name: name, Hash: hash, CreatedAt: now, CreatedBy: byStart, Scopes: []string{string(access.Admin)}}
	leaf, err := evidence.TokenLeaf(t, byStart)
	if err != nil {
		return fmt.Errorf("record the first token: %w", err)
	}
	if err := c.store.AddToken(ctx, t, leaf); err != nil {
		return fmt.Errorf("record the first token: %w", err)
	}
	c.log.Info("first token written", "path", c.data.path(TokenFile), "token", name)
	return nil
}
