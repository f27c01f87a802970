package sqlstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"
)

// Every transaction that marks takes a number of its own, so a mark's version
// is never used twice, even for an asset that was cleared in between.

func markAssets(ctx context.Context, tx bun.Tx, assets []string) error {
	if len(assets) == 0 {
		return nil
	}
	version, err := next(ctx, tx, "mark")
	if err != nil {
		return err
	}
	return batches(assets, rowsAtOnce, func(some []string) error {
		_, err := tx.NewRaw(`INSERT INTO dirty (asset, version) SELECT id, ? FROM asset WHERE id IN (?)
			ON CONFLICT (asset) DO UPDATE SET version = excluded.version, scoped = 0`, version, bun.List(some)).Exec(ctx)
		if err != nil {
			return fmt.Errorf("mark assets: %w", err)
		}
		return nil
	})
}

// maxScoped is how many pairs of asset and vulnerability are marked one by one;
// with more of them whole assets are.
const maxScoped = 200_000

// markFacts marks the assets with a running finding of vulnerabilities whose facts
// changed, for these vulnerabilities alone; one that is marked for everything stays
// so. It returns those it marked.
func markFacts(ctx context.Context, tx bun.Tx, vulnerabilities []string) ([]string, error) {
	const running = "FROM finding AS f WHERE f.order_running = 0 AND f.vulnerability IN (?)"
	pairs := 0
	var assets []string
	err := batches(vulnerabilities, rowsAtOnce, func(some []string) error {
		var n int
		if err := tx.NewRaw("SELECT COUNT(*) "+running, bun.List(some)).Scan(ctx, &n); err != nil {
			return err
		}
		pairs += n
		var more []string
		err := tx.NewRaw("SELECT DISTINCT f.asset "+running, bun.List(some)).Scan(ctx, &more)
		assets = append(assets, more...)
		return err
	})
	if err != nil || pairs == 0 {
		return nil, err
	}
	slices.Sort(assets)
	assets = slices.Compact(assets)
	if pairs > maxScoped {
		return assets, markAssets(ctx, tx, assets)
	}
	version, err := next(ctx, tx, "mark")
	if err != nil {
		return nil, err
	}
	err = batches(vulnerabilities, rowsAtOnce, func(some []string) error {
		_, err := tx.NewRaw("INSERT INTO dirty (asset, version, scoped) SELECT DISTINCT f.asset, ?, 1 "+running+`
			ON CONFLICT (asset) DO UPDATE SET version = excluded.version`, version, bun.List(some)).Exec(ctx)
		if err != nil {
			return err
		}
		_, err = tx.NewRaw("INSERT INTO dirty_vulnerability (asset, vulnerability) SELECT DISTINCT f.asset, f.vulnerability "+running+`
			ON CONFLICT (asset, vulnerability) DO NOTHING`, bun.List(some)).Exec(ctx)
		return err
	})
	return assets, err
}

// MarkDue marks the assets with a finding of which time alone changes the record
// by then. It writes only when there is one.
func (s *Store) MarkDue(ctx context.Context, at time.Time) (int, error) {
	const due = "FROM finding AS f WHERE f.alarm <= ? AND NOT EXISTS (SELECT 1 FROM dirty AS d WHERE d.asset = f.asset AND d.scoped = 0)"
	var some int
	if err := s.reader.NewRaw("SELECT COUNT(*) FROM (SELECT 1 "+due+" LIMIT 1) AS some", micros(at)).Scan(ctx, &some); err != nil {
		return 0, fmt.Errorf("mark due: %w", err)
	}
	if some == 0 {
		return 0, nil
	}
	var assets []string
	err := s.write(ctx, "mark due", func(tx bun.Tx) error {
		if err := tx.NewRaw("SELECT DISTINCT f.asset "+due+" ORDER BY f.asset", micros(at)).Scan(ctx, &assets); err != nil {
			return err
		}
		return markAssets(ctx, tx, assets)
	})
	return len(assets), err
}

// MarkAll marks every asset dirty.
func (s *Store) MarkAll(ctx context.Context) error {
	return s.write(ctx, "mark all assets", func(tx bun.Tx) error { return markEvery(ctx, tx) })
}

func markEvery(ctx context.Context, tx bun.Tx) error {
	version, err := next(ctx, tx, "mark")
	if err != nil {
		return err
	}
	// WHERE TRUE keeps SQLite from reading ON CONFLICT as a join's ON.
	_, err = tx.NewRaw(`INSERT INTO dirty (asset, version) SELECT id, ? FROM asset WHERE TRUE
		ON CONFLICT (asset) DO UPDATE SET version = excluded.version, scoped = 0`, version).Exec(ctx)
	return err
}
