package estate_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/estate"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
)

func (s *scene) set(id string, args ...string) (estate.Said, error) {
	s.Helper()
	w, err := estate.ParseSet(args)
	if err != nil {
		s.Fatal(err)
	}
	w.Reason, w.By = "moved", "ada"
	s.now = s.now.Add(time.Hour)
	return s.s.Set(s.Context(), id, w)
}

func TestAnOperatorSaysWhatAnAssetIs(t *testing.T) {
	s := newScene(t)
	s.trust("A1", "web-1", store.Attributes{Service: "shop"})
	s.report("A1", classify.Claims{InstanceID: "i-1"})
	s.list("cmdb", "instance_id,owner,region,environment\ni-1,list,eu,production\n")
	got, err := s.set("web-1", "owner=payments", "exposure=private", "crown-jewel=yes", "name=web-7")
	if err != nil {
		t.Fatal(err)
	}
	want := store.Attributes{
		Class: sla.Compute, Exposure: sla.Internal, Environment: sla.Production, Owner: "payments", Service: "shop", Region: "eu", CrownJewel: true,
	}
	a := s.asset("A1")
	if got.Attributes != want || a.Attributes != want || a.Name != "web-7" || got.Name != "web-7" || a.AttributesBy != "ada" || !a.AttributesAt.Equal(s.now) {
		t.Errorf("got %+v of %s by %q, want %+v", a.Attributes, a.Name, a.AttributesBy, want)
	}
	if o := a.Classified.Provenance[classify.Owner]; o.Source != classify.ByOperator || o.By != "ada" || !o.At.Equal(s.now) {
		t.Errorf("got %+v, want the operator's word", o)
	}
	if o := a.Classified.Provenance[classify.Region]; o.Source != classify.ByImport {
		t.Errorf("got %+v, want the list's word on what the operator does not speak of", o)
	}
	marks, err := s.st.DirtyAssets(t.Context(), 0)
	if err != nil || len(marks) != 1 {
		t.Errorf("got marks %v, %v, want one", marks, err)
	}
	if again, err := s.set("A1", "owner=payments"); err != nil || again.Leaf != -1 {
		t.Errorf("got %+v, %v for what had been said, want no leaf", again, err)
	}
	if _, err := s.set("A1", "owner="); err != nil {
		t.Fatal(err)
	}
	if a := s.asset("A1"); a.Attributes.Owner != "list" || a.Attributes.Service != "shop" || a.Name != "web-7" {
		t.Errorf("got %+v, want the list's owner again", a.Attributes)
	}
}

func TestWordsThatMakeNoSense(t *testing.T) {
	s := newScene(t)
	s.trust("A1", "web-1", store.Attributes{})
	before, _ := s.st.LeafCount(t.Context())
	for arg, want := range map[string]string{
		"colour=red":              `attribute "colour" is not known: want class, exposure`,
		"exposure=moon":           `exposure "moon": want internet, internal, unknown`,
		"core=perhaps":            `want true or false`,
		"owner=a\x1bb":            "cannot be printed",
		"name=a-aaaaaaaaaaaaaaaa": "looks like an asset's id",
		"name=":                   "nothing is said",
	} {
		if _, err := s.set("A1", arg); !errors.Is(err, estate.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", arg, err, want)
		}
	}
	if _, err := estate.ParseSet([]string{"owner"}); !errors.Is(err, estate.ErrInvalid) {
		t.Errorf("got %v for a word without a value", err)
	}
	if _, err := s.set("nobody", "owner=x"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want %v", err, store.ErrNotFound)
	}
	if n, _ := s.st.LeafCount(t.Context()); n != before {
		t.Errorf("%d leaves came of faults", n-before)
	}
}

// Two hosts of one name are two assets: nothing that names them by it is guessed.
func TestHostsOfOneNameAreNeverConfused(t *testing.T) {
	s := newScene(t)
	s.trust("A1", "web", store.Attributes{})
	s.trust("A2", "web", store.Attributes{})
	for what, act := range map[string]func() error{
		"show":      func() error { _, err := s.q.Asset(t.Context(), "web"); return err },
		"set":       func() error { _, err := s.set("web", "owner=x"); return err },
		"retire":    func() error { _, err := s.s.Retire(t.Context(), "web", "", "sold", "ada"); return err },
		"reinstate": func() error { _, err := s.s.Reinstate(t.Context(), "web", "back", "ada"); return err },
	} {
		if err := act(); !errors.Is(err, store.ErrConflict) || !strings.Contains(err.Error(), "(A1, A2)") {
			t.Errorf("%s: got %v, want an error that lists both ids", what, err)
		}
	}
	if _, err := s.set("A2", "name=web-2"); err != nil {
		t.Fatal(err)
	}
	if a := s.asset("web"); a.ID != "A1" {
		t.Errorf("got %s for the name, want A1, which alone bears it", a.ID)
	}
}
