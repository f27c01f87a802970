package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/patchproof/patchproof/collector/trust"
)

// Endpoints say where a running collector serves. They lie in the data
// directory for as long as it runs.
type Endpoints struct {
	HTTP string `json:"http"`
	NATS string `json:"nats"`
}

// EndpointsFile and TokenFile are what commands on the same machine read.
const (
	EndpointsFile = "endpoints.json"
	TokenFile     = "token"
)

// What else a data directory holds: the keys, the database, the last signed
// checkpoint (to be kept out of backups), the broker's files, who holds the
// directory, and uploads while they are read.
const (
	keysDir      = "keys"
	databaseFile = "collector.db"
	headFile     = "log-head"
	brokerDir    = "nats"
	claimsDir    = "keys/broker"
	tlsDir       = "keys/tls"
	lockFile     = "lock"
	incomingDir  = "incoming"
)

// ErrInUse says that another collector holds the data directory.
var ErrInUse = errors.New("another collector uses this data directory")

// dataDir is a data directory that this process holds.
type dataDir struct {
	root string
	lock *os.File
}

// openDataDir makes the directory on first use and takes its lock.
func openDataDir(root string) (*dataDir, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	info, err := os.Stat(root)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("open data directory: %s has mode %04o, others can reach it; run chmod 700 %s", root, info.Mode().Perm(), root)
	}
	d := &dataDir{root: root}
	if d.lock, err = takeLock(d.path(lockFile)); err != nil {
		return nil, fmt.Errorf("open data directory %s: %w", root, err)
	}
	// Left by a process that was killed.
	if err := errors.Join(d.removeEndpoints(), os.RemoveAll(d.incoming()), os.Mkdir(d.incoming(), 0o700)); err != nil {
		return nil, errors.Join(fmt.Errorf("open data directory: %w", err), d.lock.Close())
	}
	return d, nil
}

func (d *dataDir) path(name string) string { return filepath.Join(d.root, name) }

// incoming is where uploads lie while they are read.
func (d *dataDir) incoming() string { return d.path(incomingDir) }

// close gives the directory back.
func (d *dataDir) close() error {
	return errors.Join(d.removeEndpoints(), d.lock.Close())
}

func (d *dataDir) writeEndpoints(e Endpoints) error {
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return fmt.Errorf("write endpoints: %w", err)
	}
	if err := trust.ReplacePrivate(d.path(EndpointsFile), append(text, '\n')); err != nil {
		return fmt.Errorf("write endpoints: %w", err)
	}
	return nil
}

func (d *dataDir) removeEndpoints() error {
	if err := os.Remove(d.path(EndpointsFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// holder reads who wrote a lock file, for the message.
func holder(path string) string {
	text, err := os.ReadFile(path)
	if pid := strings.TrimSpace(string(text)); err == nil && pid != "" {
		return " (process " + pid + ")"
	}
	return ""
}
