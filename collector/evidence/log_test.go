package evidence_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/store"
)

func TestIntegrateSignsTheTreeOfTheLeaves(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	l := s.log()
	if _, err := l.Integrate(t.Context()); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("integrate without leaves: %v", err)
	}
	s.trust("A1")
	for n := int64(2); n < 70; n++ {
		s.accept(s.next(s.hosts["A1"], packages(t, 1, "1")))
		c := s.integrate(l)
		head, err := evidence.OpenCheckpoint(c.Note, s.keys.LogVerifier)
		if err != nil {
			t.Fatal(err)
		}
		want := must[tlog.Hash](t)(tlog.TreeHash(n, reader(t, s)))
		if head.Size != n || head.Root != want {
			t.Fatalf("checkpoint of %d leaves with root %s, want %d and %s", head.Size, head.Root, n, want)
		}
	}
	again := s.integrate(l)
	if again.Size != 69 {
		t.Errorf("without new leaves: checkpoint %d", again.Size)
	}
}

// reader computes stored hashes by x/mod's own code from the leaves alone.
func reader(t *testing.T, s *scene) tlog.HashReader {
	t.Helper()
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	for _, l := range must[[]store.Leaf](t)(s.store.Leaves(t.Context(), 0, 10000)) {
		stored = append(stored, must[[]tlog.Hash](t)(tlog.StoredHashes(l.Index, l.Body, read))...)
	}
	return read
}

func TestCheckpointIsC2SP(t *testing.T) {
	t.Parallel()
	s := whole(t)
	c := must[store.Checkpoint](t)(s.store.LastCheckpoint(t.Context()))
	lines := strings.Split(string(c.Note), "\n")
	if lines[0] != s.keys.Origin+"/1" || lines[4] != "after 31" || lines[5] != "" || !strings.HasPrefix(lines[6], "— "+s.keys.Origin+" ") {
		t.Errorf("checkpoint:\n%s", c.Note)
	}
}

func TestOpenCheckpointRefuses(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	root := strings.Repeat("A", 43) + "="
	for name, text := range map[string]string{
		"no epoch":         s.keys.Origin[strings.LastIndexByte(s.keys.Origin, '/')+1:] + "\n1\n" + root + "\ntime 2026-03-02T09:30:00Z\n",
		"a line more":      "o/1\n1\n" + root + "\ntime 2026-03-02T09:30:00Z\nmore\n",
		"itself before":    "o/1\n1\n" + root + "\ntime 2026-03-02T09:30:00Z\nafter 1\n",
		"no time":          "o/1\n1\n" + root + "\n",
		"a size with plus": "o/1\n+1\n" + root + "\ntime 2026-03-02T09:30:00Z\n",
		"a short root":     "o/1\n1\nAAAA\ntime 2026-03-02T09:30:00Z\n",
		"another zone":     "o/1\n1\n" + root + "\ntime 2026-03-02T10:30:00+01:00\n",
	} {
		signed := must[[]byte](t)(note.Sign(&note.Note{Text: text}, s.keys.Log))
		if h, err := evidence.OpenCheckpoint(signed, s.keys.LogVerifier); err == nil {
			t.Errorf("%s: opened as %+v", name, h)
		}
	}
}

func TestIntegrateRefusesAnEditedLeaf(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]bool{"by the same process": false, "by the next process": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := whole(t)
			l := s.log()
			s.exec("UPDATE leaf SET body = CAST(REPLACE(CAST(body AS TEXT), 'nats', 'hand') AS BLOB) WHERE idx = 5")
			s.rounds(1)
			if again {
				l = s.log()
			}
			before := must[store.Checkpoint](t)(s.store.LastCheckpoint(t.Context()))
			for range 2 {
				if _, err := l.Integrate(t.Context()); !errors.Is(err, evidence.ErrContradiction) {
					t.Errorf("got error %v, want %v", err, evidence.ErrContradiction)
				}
			}
			if after := must[store.Checkpoint](t)(s.store.LastCheckpoint(t.Context())); after.Size != before.Size {
				t.Errorf("checkpoint %d was signed after %d", after.Size, before.Size)
			}
		})
	}
}

func TestIntegrateRefusesEditedHashes(t *testing.T) {
	t.Parallel()
	s := whole(t)
	s.exec("UPDATE tree_hash SET hash = zeroblob(32) WHERE idx = (SELECT MAX(idx) FROM tree_hash)")
	s.rounds(1)
	if _, err := s.log().Integrate(t.Context()); !errors.Is(err, evidence.ErrContradiction) {
		t.Errorf("got error %v, want %v", err, evidence.ErrContradiction)
	}
}

func TestRestoredBackupBeginsAnEpoch(t *testing.T) {
	t.Parallel()
	s := whole(t)
	old := s.backup()
	l := s.log()
	s.rounds(1)
	lost := s.integrate(l)
	s.restore(old)
	l = s.log()
	if l.Epoch() != 2 {
		t.Fatalf("epoch %d after a restore, want 2", l.Epoch())
	}
	s.integrate(l)
	r := s.wantOK()
	if r.Epoch != 2 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "lost head") {
		t.Errorf("report %+v", r)
	}
	if l := s.log(); l.Epoch() != 2 {
		t.Errorf("epoch %d after a plain start, want 2", l.Epoch())
	}
	s.restore(old) // the same backup once more: the head file knows of epoch 2
	l = s.log()
	if l.Epoch() != 3 {
		t.Errorf("epoch %d after a second restore, want 3", l.Epoch())
	}
	now := s.integrate(l)
	a := must[evidence.Head](t)(evidence.OpenCheckpoint(lost.Note, s.keys.LogVerifier))
	b := must[evidence.Head](t)(evidence.OpenCheckpoint(now.Note, s.keys.LogVerifier))
	if a.Epoch == b.Epoch {
		t.Error("two histories were signed under one origin")
	}
	s.wantOK()
}

func TestRestoredBackupThatGrewBeginsAnEpoch(t *testing.T) {
	t.Parallel()
	s := whole(t)
	old := s.backup()
	l := s.log()
	s.rounds(1)
	s.integrate(l)
	s.restore(old)
	s.assess("CVE-2026-9") // someone wrote before the log was opened
	for range 5 {
		s.rounds(1)
	}
	if l := s.log(); l.Epoch() != 2 {
		t.Errorf("epoch %d, want 2", l.Epoch())
	}
}

func TestCrashBetweenDatabaseAndHeadFileIsNoLoss(t *testing.T) {
	t.Parallel()
	s := whole(t)
	behind := must[[]byte](t)(os.ReadFile(s.head()))
	l := s.log()
	s.rounds(1)
	s.integrate(l)
	if err := os.WriteFile(s.head(), behind, 0o600); err != nil {
		t.Fatal(err)
	}
	l = s.log()
	if l.Epoch() != 1 {
		t.Fatalf("epoch %d, want 1", l.Epoch())
	}
	s.integrate(l)
	s.wantOK()
}

func TestDamagedDatabaseGetsNoEpoch(t *testing.T) {
	t.Parallel()
	s := whole(t)
	s.exec("DELETE FROM leaf WHERE idx = (SELECT MAX(idx) FROM leaf)")
	l := s.log()
	if l.Epoch() != 1 {
		t.Errorf("epoch %d, want 1", l.Epoch())
	}
	if _, err := l.Integrate(t.Context()); !errors.Is(err, evidence.ErrContradiction) {
		t.Errorf("got error %v, want %v", err, evidence.ErrContradiction)
	}
}

func TestForgedHeadFileStopsTheLog(t *testing.T) {
	t.Parallel()
	s := whole(t)
	text := must[[]byte](t)(os.ReadFile(s.head()))
	text[len(s.keys.Origin)+3]++
	if err := os.WriteFile(s.head(), text, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := evidence.OpenLog(t.Context(), evidence.Options{
		Store: s.store, Signer: s.keys.Log, Verifier: s.keys.LogVerifier, HeadFile: s.head(), Now: time.Now,
	})
	if err == nil {
		t.Error("a head file that does not verify was accepted")
	}
}

func TestAnotherKeyIsRefused(t *testing.T) {
	t.Parallel()
	s, other := whole(t), newScene(t)
	_, err := evidence.OpenLog(t.Context(), evidence.Options{
		Store: s.store, Signer: other.keys.Log, Verifier: other.keys.LogVerifier, Now: time.Now,
	})
	if err == nil || !strings.Contains(err.Error(), s.keys.Origin) {
		t.Errorf("got error %v, want one that names %s", err, s.keys.Origin)
	}
}
