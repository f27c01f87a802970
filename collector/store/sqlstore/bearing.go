package sqlstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/store"
)

// What a host says of itself bears on the entries of lists it could be, on the
// assets that could be them too, and on nobody else. So of an estate that is read
// for some assets only this is read:
//
//   - the standings of those assets and of all that could be an entry that one of
//     them could be, or could have been as it was last classified;
//   - every entry that one of these could be, every asset that could be such an
//     entry, and every entry that such an asset could be, since which entry it is
//     decides which it is not.

// ties are the words by which assets and entries are tied.
type ties struct{ instances, names map[string]struct{} }

func newTies() ties { return ties{instances: map[string]struct{}{}, names: map[string]struct{}{}} }

func (t ties) add(instance, name string) {
	if instance != "" {
		t.instances[instance] = struct{}{}
	}
	if name != "" {
		t.names[folded(name)] = struct{}{}
	}
}

// otherLetters is what names fold to that hold other letters than ASCII's, whose
// upper and lower case the database does not know.
const otherLetters = "*"

// folded is a name as columns named folded have it.
func folded(name string) string {
	if strings.IndexFunc(name, func(r rune) bool { return r > 127 }) >= 0 {
		return otherLetters
	}
	return strings.ToLower(name)
}

// tied calls f with conditions on the columns instance and folded that let
// through what is tied by some words, and perhaps more.
func (t ties) tied(f func(condition string, words []string) error) error {
	if err := batches(slices.Sorted(maps.Keys(t.instances)), rowsAtOnce, func(some []string) error {
		return f("instance IN (?)", some)
	}); err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(t.names))
	if len(names) > 0 && !slices.Contains(names, otherLetters) {
		names = append(names, otherLetters)
	}
	return batches(names, rowsAtOnce, func(some []string) error { return f("folded IN (?)", some) })
}

// bearing reads of an estate what bears on some assets.
func (s *Store) bearing(ctx context.Context, db bun.IDB, e *store.Estate, assets []string) error {
	rows, err := assetRows(ctx, db, assets)
	if err != nil {
		return err
	}
	asked, err := tiesOf(rows)
	if err != nil {
		return err
	}
	rivals, err := s.couldBe(ctx, db, asked)
	if err != nil {
		return err
	}
	assets = slices.Clone(assets)
	for _, id := range rivals {
		assets = append(assets, id.Asset)
	}
	slices.Sort(assets)
	if rows, err = assetRows(ctx, db, slices.Compact(assets)); err != nil {
		return err
	}
	if e.Standings, err = standings(ctx, db, rows); err != nil {
		return err
	}
	near, err := tiesOf(rows)
	if err != nil {
		return err
	}
	if e.Identities, err = s.couldBe(ctx, db, near); err != nil {
		return err
	}
	for i := range rows {
		id, err := rows[i].identity()
		if err != nil {
			return err
		}
		e.Identities = append(e.Identities, id)
	}
	slices.SortFunc(e.Identities, func(a, b classify.Identity) int { return cmp.Compare(a.Asset, b.Asset) })
	e.Identities = slices.CompactFunc(e.Identities, func(a, b classify.Identity) bool { return a.Asset == b.Asset })
	far := newTies()
	for _, id := range e.Identities {
		far.add(id.InstanceID, id.Name)
	}
	if e.Listed, err = s.listedTied(ctx, db, far); err != nil {
		return err
	}
	e.Listed, err = s.withUnits(ctx, db, e)
	return err
}

// couldBe returns the assets that are tied by some words, or could be one of the
// entries that what is so tied could be.
func (s *Store) couldBe(ctx context.Context, db bun.IDB, t ties) ([]classify.Identity, error) {
	entries, err := s.listedTied(ctx, db, t)
	if err != nil {
		return nil, err
	}
	theirs := ties{instances: maps.Clone(t.instances), names: maps.Clone(t.names)}
	for i := range entries {
		theirs.add(entries[i].InstanceID, entries[i].Name)
	}
	var out []classify.Identity
	err = theirs.tied(func(condition string, words []string) error {
		ids, err := identities(ctx, db, "WHERE "+condition, bun.List(words))
		out = append(out, ids...)
		return err
	})
	return out, err
}

// tiesOf are the words of assets as they are now, and as they were when they were
// last classified.
func tiesOf(rows []assetRow) (ties, error) {
	t := newTies()
	for i := range rows {
		id, err := rows[i].identity()
		if err != nil {
			return t, err
		}
		var was struct {
			Claims struct {
				InstanceID string `json:"instance_id"`
			} `json:"claims"`
		}
		if err := fromJSON(rows[i].Classified, &was); err != nil {
			return t, fmt.Errorf("asset %s: %w", id.Asset, err)
		}
		t.add(id.InstanceID, id.Name)
		t.add(was.Claims.InstanceID, "")
	}
	return t, nil
}

func (s *Store) listedTied(ctx context.Context, db bun.IDB, t ties) ([]classify.Listed, error) {
	var out []classify.Listed
	err := t.tied(func(condition string, words []string) error {
		some, err := s.listed(ctx, db, "WHERE kind = 'instance' AND "+condition, bun.List(words))
		out = append(out, some...)
		return err
	})
	return distinct(out), err
}

// withUnits adds to the entries of an estate what lists say of the accounts they
// and the assets are in, and of the units those stand in.
func (s *Store) withUnits(ctx context.Context, db bun.IDB, e *store.Estate) ([]classify.Listed, error) {
	accounts := map[string]struct{}{}
	for i := range e.Standings {
		st := &e.Standings[i]
		accounts[st.Declared.Attributes.Account], accounts[st.Claims.Account] = struct{}{}, struct{}{}
	}
	for i := range e.Listed {
		accounts[e.Listed[i].Account] = struct{}{}
	}
	out, units := e.Listed, map[string]struct{}{}
	err := batches(slices.Sorted(maps.Keys(accounts)), rowsAtOnce, func(some []string) error {
		list, err := s.listed(ctx, db, "WHERE kind = 'account' AND account IN (?)", bun.List(some))
		for i := range list {
			for id := range strings.SplitSeq(list[i].OU, "/") {
				units[id] = struct{}{}
			}
		}
		out = append(out, list...)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = batches(slices.Sorted(maps.Keys(units)), rowsAtOnce, func(some []string) error {
		list, err := s.listed(ctx, db, "WHERE kind = 'ou' AND instance IN (?)", bun.List(some))
		out = append(out, list...)
		return err
	})
	return distinct(out), err
}

// distinct orders entries by source and key, each once.
func distinct(list []classify.Listed) []classify.Listed {
	slices.SortFunc(list, func(a, b classify.Listed) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Key(), b.Key()))
	})
	return slices.CompactFunc(list, func(a, b classify.Listed) bool { return a.Source == b.Source && a.Key() == b.Key() })
}

// identity is what ties an asset to entries of lists.
func (r *assetRow) identity() (classify.Identity, error) {
	var said struct {
		Attributes struct {
			Account string `json:"account"`
		} `json:"attributes"`
	}
	var head struct{ InstanceID, AccountID string }
	err := fromJSON(r.Declared, &said)
	if r.Head != nil {
		err = errors.Join(err, fromJSON(*r.Head, &head))
	}
	if err != nil {
		return classify.Identity{}, fmt.Errorf("asset %s: %w", r.ID, err)
	}
	return classify.Identity{Asset: r.ID, Name: r.Name, InstanceID: head.InstanceID, Account: cmp.Or(said.Attributes.Account, head.AccountID)}, nil
}

// identities reads of assets only what ties them to lists.
func identities(ctx context.Context, db bun.IDB, where string, args ...any) ([]classify.Identity, error) {
	var rows []assetRow
	if err := db.NewRaw("SELECT id, name, declared, head FROM asset "+where+" ORDER BY id", args...).Scan(ctx, &rows); err != nil {
		return nil, err
	}
	out := make([]classify.Identity, len(rows))
	for i := range rows {
		var err error
		if out[i], err = rows[i].identity(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
