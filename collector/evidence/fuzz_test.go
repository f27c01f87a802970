package evidence_test

import (
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/patchproof/patchproof/collector/evidence"
)

// FuzzOpenCheckpoint signs any text: what opens must be spelt as we write it.
func FuzzOpenCheckpoint(f *testing.F) {
	s := newScene(f)
	root := strings.Repeat("A", 43) + "="
	f.Add("o/1\n1\n" + root + "\ntime 2026-03-02T09:30:00Z\n")
	f.Add("a/b/9223372036854775807\n0\n" + root + "\ntime 2026-03-02T09:30:00.123456Z\n")
	f.Add("o/1\n-1\n\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		signed, err := note.Sign(&note.Note{Text: text}, s.keys.Log)
		if err != nil {
			return
		}
		h, err := evidence.OpenCheckpoint(signed, s.keys.LogVerifier)
		if err != nil {
			return
		}
		if h.Origin == "" || h.Size < 0 || h.Epoch < 0 || !strings.HasPrefix(text, h.Origin+"/") || !strings.Contains(text, h.Root.String()) {
			t.Errorf("%q opened as %+v", text, h)
		}
	})
}
