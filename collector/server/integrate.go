package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/store"
)

const (
	// lookEvery is how soon a new leaf is under a signed checkpoint.
	lookEvery = 2 * time.Second
	// auditEvery is how often older leaves are looked at again when none is new.
	auditEvery = time.Minute
	// lastLook bounds the checkpoint that is signed while stopping.
	lastLook = 10 * time.Second
)

// integrator keeps the evidence log under a signed checkpoint.
type integrator struct {
	log    *evidence.Log
	store  store.Evidence
	logger *slog.Logger

	mu   sync.Mutex
	last error
}

// Run integrates new leaves until ctx is done, and those that are left then. A
// log that contradicts what was signed is no reason to stop taking reports: it
// is said in the log, in metrics and by /readyz, and nothing more is signed.
func (i *integrator) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	looks := 0
	i.look(ctx, true)
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLook)
			defer cancel()
			i.look(last, false)
			return nil
		case <-tick.C:
			looks++
			i.look(ctx, looks%int(auditEvery/lookEvery) == 0)
		}
	}
}

// look integrates when leaves are new, or in any case when audit is set.
func (i *integrator) look(ctx context.Context, audit bool) {
	err := i.integrate(ctx, audit)
	if err != nil && ctx.Err() != nil {
		return
	}
	i.mu.Lock()
	repeated := i.last != nil && err != nil && i.last.Error() == err.Error()
	i.last = err
	i.mu.Unlock()
	if err != nil && !repeated {
		i.logger.Error("evidence not integrated", "err", err)
	}
}

func (i *integrator) integrate(ctx context.Context, audit bool) error {
	if !audit {
		n, err := i.store.LeafCount(ctx)
		if err != nil {
			return fmt.Errorf("count leaves: %w", err)
		}
		c, err := i.store.LastCheckpoint(ctx)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("read last checkpoint: %w", err)
		}
		if n == c.Size && i.Err() == nil {
			return nil
		}
	}
	_, err := i.log.Integrate(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return nil // no leaf yet
	}
	return err
}

// Err is why the last look failed, nil when it did not.
func (i *integrator) Err() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.last
}
