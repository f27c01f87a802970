package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/patchproof/patchproof/agent/pin"
	"github.com/patchproof/patchproof/agent/publish"
)

// roadFile is where a sender writes how its road is, for `status`.
const roadFile = "road.json"

// roadAgain is how often the same error is written anew.
const roadAgain = time.Minute

// maxRoadFile bounds what `status` reads of it.
const maxRoadFile = 64 << 10

// roadStatus is what a sender says of its road.
type roadStatus struct {
	publish.State
	// PID is the process that wrote it.
	PID int `json:"pid"`
}

// keepRoad writes each change of the road's state into the state directory. It
// is for people: a disk that does not take it stops nothing.
func keepRoad(dir string, log *slog.Logger) func(publish.State) {
	var mu sync.Mutex
	var last publish.State
	return func(s publish.State) {
		mu.Lock()
		defer mu.Unlock()
		if s.Connected == last.Connected && s.Error == last.Error && s.ErrorAt.Sub(last.ErrorAt) < roadAgain {
			return
		}
		last = s
		if err := writeRoad(filepath.Join(dir, roadFile), roadStatus{State: s, PID: os.Getpid()}); err != nil {
			log.Warn("road state not written", "err", err)
		}
	}
}

// writeRoad replaces the file in one step. It is not synced: after a power cut
// nobody needs it.
func writeRoad(path string, s roadStatus) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// readRoad returns what the last sender said, nil when none ever ran.
func readRoad(dir string) (*roadStatus, error) {
	path := filepath.Join(dir, roadFile)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // no sender ran yet
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRoadFile {
		return nil, fmt.Errorf("%s: not a file the agent wrote", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var s roadStatus
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &s, nil
}

// roadHint returns what to do about an error of the road.
func roadHint(text string) string {
	lower := strings.ToLower(text)
	switch {
	case strings.Contains(lower, "authorization") || strings.Contains(lower, "authentication"):
		return "the broker does not let this host in: it is not enrolled, its claims have expired, or it was revoked"
	case strings.Contains(lower, strings.ToLower(pin.ErrUnpinned.Error())):
		return "ca or ca_sha256 must name the authority that `patchproof key show` prints, and server a name in the certificate"
	default:
		return ""
	}
}
