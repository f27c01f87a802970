package query_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/query"
)

func TestWordsMayHoldCommas(t *testing.T) {
	for said, want := range map[string][]string{
		`a`:                         {"a"},
		`a, b ,c`:                   {"a", "b", "c"},
		`"Smith, Jones"`:            {"Smith, Jones"},
		`"Smith, Jones" , payments`: {"Smith, Jones", "payments"},
		`O"Neil`:                    {`O"Neil`},
		`"say ""hi"", twice",x`:     {`say "hi", twice`, "x"},
		`" spaced "`:                {" spaced "},
	} {
		f, err := query.ParseFilter(map[string][]string{"owner": {said}})
		if err != nil || !slices.Equal(f.Owner, want) {
			t.Errorf("%s: got %q, %v, want %q", said, f.Owner, err, want)
		}
	}
	for _, said := range []string{`"open`, `"a"b`, `a,,b`, `,`, `a,`, `""`} {
		if f, err := query.ParseFilter(map[string][]string{"owner": {said}}); err == nil {
			t.Errorf("%s: got %q, want an error", said, f.Owner)
		}
	}
}

func TestAFilterSaidTwiceIsOneList(t *testing.T) {
	f, err := query.ParseFilter(map[string][]string{"owner": {`"a, b"`, `c,d`}})
	if want := []string{"a, b", "c", "d"}; err != nil || !slices.Equal(f.Owner, want) {
		t.Errorf("got %q, %v, want %q", f.Owner, err, want)
	}
}

// Whatever an owner is called, a filter that names it travels as it was meant.
func TestAnyWordTravels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.StringMatching(`[a-c," \n\t]*[a-c"][a-c," ]*`), 1, 4).Draw(t, "owners")
		f, err := query.ParseFilter(query.Filter{Owner: want}.Values())
		if err != nil || !slices.Equal(f.Owner, want) {
			t.Fatalf("got %q, %v, want %q", f.Owner, err, want)
		}
	})
}
