package feed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/store"
)

// maxShrink is the part of a feed, in hundredths, that a snapshot may lack
// without a person looking: publishers rarely take anything away.
const maxShrink = 2

// reasons says why a batch has to wait for a person; none means it may go on.
func (im *Importer) reasons(ctx context.Context, b advisory.Batch, state store.FeedState) ([]string, error) {
	if !b.Snapshot {
		return im.upsertReasons(ctx, b)
	}
	if len(b.Advisories)+len(b.Facts) == 0 {
		return []string{"the snapshot is empty"}, nil
	}
	if state.SnapshotAt.IsZero() {
		return nil, nil
	}
	var reasons []string
	if !b.Published.IsZero() && b.Published.Before(state.Published) {
		reasons = append(reasons, fmt.Sprintf("the snapshot is of %s, older than the one held, of %s",
			b.Published.Format(time.RFC3339), state.Published.Format(time.RFC3339)))
	}
	for _, r := range state.Releases {
		if !slices.Contains(b.Releases, r) {
			reasons = append(reasons, "it no longer covers "+r.String())
		}
	}
	held, err := im.Store.FeedVulnerabilities(ctx, b.Feed.Name)
	if err != nil {
		return nil, err
	}
	named := named(b)
	reasons = append(reasons, shrunk("vulnerabilities", len(held), len(named))...)
	if n := state.Advisories - state.Missing; state.Feed.Kind == b.Feed.Kind && len(b.Advisories) > 0 {
		reasons = append(reasons, shrunk("advisories", n, len(b.Advisories))...)
	}
	dropped, err := im.droppedFindings(ctx, held, named)
	return append(reasons, dropped...), err
}

func shrunk(what string, held, now int) []string {
	if held == 0 || (held-now)*100 <= held*maxShrink {
		return nil
	}
	return []string{fmt.Sprintf("it has %d %s and %d are held, %.1f %% fewer (limit %d %%)",
		now, what, held, float64(held-now)*100/float64(held), maxShrink)}
}

// named collects what a batch names. A withdrawn advisory still names its
// vulnerabilities: being withdrawn is something its publisher says.
func named(b advisory.Batch) map[string]struct{} {
	m := make(map[string]struct{}, len(b.Facts))
	for i := range b.Advisories {
		for _, v := range b.Advisories[i].Vulnerabilities {
			m[v] = struct{}{}
		}
	}
	for i := range b.Facts {
		m[b.Facts[i].Vulnerability] = struct{}{}
	}
	return m
}

// droppedFindings names vulnerabilities that were held, are not named any more,
// and that some running finding has.
func (im *Importer) droppedFindings(ctx context.Context, held, named map[string]struct{}) ([]string, error) {
	var dropped []string
	for v := range held {
		if _, ok := named[v]; !ok {
			dropped = append(dropped, v)
		}
	}
	if len(dropped) == 0 {
		return nil, nil
	}
	running, err := im.Store.VulnerabilitiesWithFindings(ctx)
	if err != nil {
		return nil, err
	}
	dropped = slices.DeleteFunc(dropped, func(v string) bool { _, ok := running[v]; return !ok })
	if len(dropped) == 0 {
		return nil, nil
	}
	slices.Sort(dropped)
	return []string{fmt.Sprintf("it no longer names %s with running findings: %s", count(len(dropped), "vulnerability", "vulnerabilities"), list(dropped, 5))}, nil
}

// upsertReasons holds single records against what is held of them: an older
// one must not undo a newer, nor take a vulnerability with findings away.
func (im *Importer) upsertReasons(ctx context.Context, b advisory.Batch) ([]string, error) {
	if len(b.Advisories)+len(b.Facts) == 0 {
		return []string{"there is nothing in it"}, nil
	}
	var reasons []string
	held := map[string]struct{}{}
	for _, a := range b.Advisories {
		old, err := im.Store.Advisory(ctx, b.Feed.Name, a.ID)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if a.Modified.Before(old.Modified) {
			reasons = append(reasons, fmt.Sprintf("%s is of %s, older than the one held, of %s",
				a.ID, a.Modified.Format(time.RFC3339), old.Modified.Format(time.RFC3339)))
		}
		if old.Withdrawn == nil {
			maps.Copy(held, named(advisory.Batch{Advisories: []advisory.Advisory{old}}))
		}
	}
	dropped, err := im.droppedFindings(ctx, held, named(b))
	return append(reasons, dropped...), err
}

func count(n int, one, many string) string {
	if n == 1 {
		return "one " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func list(items []string, limit int) string {
	if len(items) > limit {
		return strings.Join(items[:limit], ", ") + ", …"
	}
	return strings.Join(items, ", ")
}
