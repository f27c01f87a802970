//go:build linux

package server_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchproof/patchproof/collector/ingest/natsin"
	"github.com/patchproof/patchproof/collector/internal/natstest"
	"github.com/patchproof/patchproof/collector/server"
	"github.com/patchproof/patchproof/schema"
)

// smallDisk mounts a file system of a few bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+",mode=0700")
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skip("mounting a small file system needs root")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fill takes what room is left on a disk.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1 << 20, 4096, 1} {
		block := make([]byte, size)
		for err = nil; err == nil; {
			_, err = f.Write(block)
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk does not get full: %v", err)
	}
	_ = f.Close()
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// A full disk refuses nobody's report for good: no receipt is given, and once
// there is room again everything is accepted.
func TestFullDiskLosesNothing(t *testing.T) {
	disk, h := smallDisk(t, "64m"), natstest.NewHost(t, 1)
	dir := filepath.Join(disk, "data")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, done := make(chan server.Endpoints, 1), make(chan error, 1)
	o := options(dir)
	o.MaxStream = 16 << 20
	o.Log = slog.New(slog.DiscardHandler)
	o.Ready = func(e server.Endpoints) { ready <- e }
	go func() { done <- server.Run(ctx, o) }()
	r := &running{dir: dir}
	select {
	case r.Endpoints = <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	r.trust(t, schema.KeyID(h.Public()))
	envelopes := chain(t, h, 12)
	free := fill(t, disk)
	got, err := r.sender(t, h).Send(limit(t, 3*time.Second), envelopes)
	if err == nil || len(got) > 2 { // a page or two may still fit into files that are there
		t.Errorf("on a full disk: got %d receipts, %v", len(got), err)
	}
	free()
	// The stream takes nothing more, which ends the collector and has its
	// supervisor start it again.
	select {
	case err := <-done:
		if !errors.Is(err, natsin.ErrStorage) {
			t.Errorf("the collector ended with %v, want ErrStorage", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the collector stays up with a dead stream")
	}
	again := start(t, dir)
	if got, err := again.sender(t, h).Send(limit(t, 20*time.Second), envelopes); err != nil || len(got) != len(envelopes) {
		t.Errorf("with room again: got %d receipts, %v; want %d", len(got), err, len(envelopes))
	}
	if err := again.stop(); err != nil {
		t.Error(err)
	}
	report, err := server.VerifyEvidence(t.Context(), server.VerifyOptions{DataDir: dir})
	if err != nil || !report.OK || report.Reports != len(envelopes) {
		t.Errorf("evidence: %v\n%s", err, report.Summary())
	}
}
