package evidence

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/store"
)

// feed takes in a feed's leaf, and holds what was written under it against its
// digests.
func (r *run) feed(l store.Leaf) error {
	var b FeedBody
	if err := OpenLeaf(l, &b); err != nil {
		return err
	}
	f := r.said.feeds[b.Feed]
	f.Feed = advisory.Feed{Name: b.Feed, Kind: b.Kind}
	f.Digest, f.Published, f.ImportedAt = b.Digest, instant(b.Published), l.At
	if b.Snapshot {
		f.SnapshotAt, f.Held, f.Releases = l.At, nil, nil
	}
	for _, rel := range b.Releases {
		if !slices.Contains(f.Releases, rel) {
			f.Releases = append(f.Releases, rel)
		}
	}
	slices.SortFunc(f.Releases, byRelease)
	r.said.feeds[b.Feed] = f
	if b.Contents == nil {
		r.said.old = true
		r.said.oldFeeds[b.Feed] = true
		return nil
	}
	if !b.Snapshot || len(b.Releases) > 0 || b.Advisories == 0 {
		delete(r.said.oldFeeds, b.Feed)
	}
	if facts, ok := b.Contents["facts"]; ok {
		r.said.facts[b.Kind] = facts
	}
	return r.checkContents(l, b.Contents, "advisories", "fixes")
}

func byRelease(a, b inventory.Release) int {
	return slices.Compare([]string{a.Distro, a.Version}, []string{b.Distro, b.Version})
}

// checkContents holds the rows that were written under a leaf against the digests
// it names.
func (r *run) checkContents(l store.Leaf, want map[string]string, lists ...string) error {
	got, err := r.Store.Contents(r.ctx, l.Index)
	if err != nil {
		return err
	}
	for _, name := range lists {
		if got[name] != want[name] {
			return fmt.Errorf("the %s recorded under it are not those it was made for", name)
		}
	}
	return nil
}

// feedHeld takes in the leaf of a snapshot that waits for a person.
func (s *said) feedHeld(l store.Leaf) error {
	var b FeedHeldBody
	if err := OpenLeaf(l, &b); err != nil {
		return err
	}
	f, ok := s.feeds[b.Feed]
	if !ok {
		f.Feed = advisory.Feed{Name: b.Feed, Kind: b.Kind}
	}
	f.Held = &store.Held{Digest: b.Digest, At: l.At, Reason: b.Reason}
	s.feeds[b.Feed] = f
	return nil
}

// checkFeeds holds the feeds' own rows against what their leaves say, and the
// facts they brought against the digest of the last import of their kind.
func (r *run) checkFeeds() error {
	feeds, err := r.Store.FeedRecords(r.ctx)
	if err != nil {
		return r.fault("feeds", err)
	}
	for _, f := range feeds {
		want, ok := r.said.feeds[f.Feed.Name]
		delete(r.said.feeds, f.Feed.Name)
		if r.said.oldFeeds[f.Feed.Name] {
			want.Releases = f.Releases // its leaves do not name them
		}
		switch {
		case !ok:
			r.problem("feed "+f.Feed.Name, "no leaf says that anything was imported")
		case !sameFeed(f, want):
			r.problem("feed "+f.Feed.Name, "its row is not what its last leaves say")
		}
	}
	for name := range r.said.feeds {
		r.problem("feed "+name, "it was imported and has no row: it was removed")
	}
	return r.checkFacts()
}

func sameFeed(a, b store.FeedState) bool {
	for _, f := range []*store.FeedState{&a, &b} {
		if len(f.Releases) == 0 {
			f.Releases = nil
		}
		f.Published, f.ImportedAt, f.SnapshotAt = instant(f.Published), instant(f.ImportedAt), instant(f.SnapshotAt)
	}
	return reflect.DeepEqual(a, b)
}

func (r *run) checkFacts() error {
	kinds, err := r.Store.FactKinds(r.ctx)
	if err != nil {
		return r.fault("facts", err)
	}
	for _, kind := range kinds {
		if _, ok := r.said.facts[kind]; !ok && !r.said.old {
			r.problem("facts of "+kind, "no leaf says that any were imported")
		}
	}
	for kind, want := range r.said.facts {
		got, err := r.Store.FactsDigest(r.ctx, kind)
		if err != nil {
			return r.fault("facts of "+kind, err)
		}
		if got != want {
			r.problem("facts of "+kind, "they are not what the last import of their kind left")
		}
	}
	return nil
}
