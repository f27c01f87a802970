package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"github.com/patchproof/patchproof/collector/assess"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
	"github.com/patchproof/patchproof/collector/trust"
)

// ErrNoData says that the directory holds no collector's database.
var ErrNoData = errors.New("no collector's database here")

// VerifyOptions say whose evidence to check.
type VerifyOptions struct {
	// DataDir is a collector's data directory, running or not, or a copy of it.
	DataDir string
	// LogKey is the log's verifier key (C2SP vkey) as the auditor knows it; empty
	// takes the one that lies in the data directory, which proves less.
	LogKey   string
	Progress func(done, all int64)
}

// VerifyEvidence recomputes the log and everything it bears witness to.
func VerifyEvidence(ctx context.Context, o VerifyOptions) (evidence.Report, error) {
	db := filepath.Join(o.DataDir, databaseFile)
	if _, err := os.Stat(db); errors.Is(err, fs.ErrNotExist) {
		return evidence.Report{}, fmt.Errorf("%w: %s", ErrNoData, o.DataDir)
	}
	key, err := o.verifier()
	if err != nil {
		return evidence.Report{}, err
	}
	st, err := sqlstore.OpenReadOnly(ctx, db)
	if err != nil {
		return evidence.Report{}, err
	}
	v := evidence.Verifier{Store: st, Key: key, Replay: assess.Replay, Progress: o.Progress}
	if head := filepath.Join(o.DataDir, headFile); fileExists(head) {
		v.HeadFile = head
	}
	r, err := v.Verify(ctx)
	return r, errors.Join(err, st.Close())
}

func (o VerifyOptions) verifier() (note.Verifier, error) {
	if o.LogKey != "" {
		v, err := note.NewVerifier(o.LogKey)
		if err != nil {
			return nil, fmt.Errorf("log key: %w", err)
		}
		return v, nil
	}
	dir := filepath.Join(o.DataDir, keysDir)
	if !fileExists(dir) { // never make keys where somebody only looks
		return nil, fmt.Errorf("%w: %s has no keys; give the log's verifier key", ErrNoData, o.DataDir)
	}
	keys, err := trust.OpenKeys(dir)
	if err != nil {
		return nil, err
	}
	return keys.LogVerifier, nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
