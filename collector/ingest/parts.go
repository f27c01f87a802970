package ingest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/patchproof/patchproof/schema"
)

// maxChecked bounds how many held parts are remembered as checked.
const maxChecked = 4096

// checked remembers held parts that were found to be what a report says of
// them, so that a fleet's unchanged parts are not read again for each report.
type checked struct {
	mu   sync.Mutex
	seen map[schema.Part]struct{}
}

func (c *checked) has(p schema.Part) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.seen[p]
	return ok
}

func (c *checked) add(p schema.Part) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil || len(c.seen) >= maxChecked {
		c.seen = make(map[schema.Part]struct{})
	}
	c.seen[p] = struct{}{}
}

// missing names the parts the report gives by digest only and the store does
// not hold. Those it holds it checks: whoever sent the text first may have sent
// it as another part, or this report may lie about its size.
func (d *Door) missing(ctx context.Context, r *schema.Report) ([]string, error) {
	var parts []schema.Part
	var digests []string
	for _, name := range r.Missing() {
		part, _ := r.Part(name)
		parts = append(parts, part)
		digests = append(digests, part.Digest)
	}
	if len(digests) == 0 {
		return nil, nil
	}
	lacking, err := d.o.Store.MissingParts(ctx, digests)
	if err != nil {
		return nil, fmt.Errorf("look up parts: %w", err)
	}
	var need []string
	for _, part := range parts {
		if slices.Contains(lacking, part.Digest) {
			need = append(need, part.Name)
		} else if err := d.checkHeld(ctx, part); err != nil {
			return nil, err
		}
	}
	return need, nil
}

// checkHeld checks a held text against what a report says of it.
func (d *Door) checkHeld(ctx context.Context, part schema.Part) error {
	if d.parts.has(part) {
		return nil
	}
	text, err := d.o.Store.Part(ctx, part.Digest)
	if err != nil {
		return fmt.Errorf("read part: %w", err)
	}
	if held := schema.NewPart(part.Name, text); held != part {
		return &Rejection{schema.ReasonBodyDigest, fmt.Errorf("part %q by digest %s has %d bytes in %d lines, the report says %d in %d",
			part.Name, part.Digest, held.Size, held.Count, part.Size, part.Count)}
	}
	if err := schema.CheckPart(part.Name, text); err != nil {
		return &Rejection{schema.ReasonBodyNotCanonical, fmt.Errorf("part %q by digest %s: %w", part.Name, part.Digest, err)}
	}
	d.parts.add(part)
	return nil
}
