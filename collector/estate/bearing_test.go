package estate_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/classify"
	"github.com/patchproof/patchproof/collector/store"
)

// A refresh reads of the estate what bears on the assets that say something new.
// That it misses nothing: after each, deriving the whole estate again changes no
// asset. The names and instances drawn are few, so that they are often another's.
func TestARefreshMissesNothing(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := newScene(t)
			r := rand.New(rand.NewPCG(seed, 11))
			one := func(of ...string) string { return of[r.IntN(len(of))] }
			instance := func() string { return one("", "i-1", "i-2", "i-3", "i-4", "i-5") }
			name := func() string { return one("web", "WEB", "db", "Db", "K8", "\u212a8", "ÄB", "äb", "äB", "solo") }
			account := func() string { return one("", "111111111111", "222222222222") }
			s.rules("version: 1\nrules: [{id: pay, match: {tag: {env: prod}}, set: {environment: production, owner: {tag: team}}}]")
			assets := 0
			for step := range 30 {
				s.now = s.now.Add(time.Minute)
				switch n := r.IntN(8); {
				case n == 0 || assets < 3:
					s.trust(fmt.Sprint("A", assets), name(), store.Attributes{Account: account()})
					assets++
				case n == 1:
					s.list(one("cmdb", "ec2"), drawnList(r, instance, name, account))
				default:
					id := fmt.Sprint("A", r.IntN(assets))
					s.report(id, classify.Claims{InstanceID: instance(), Account: account(), Labels: map[string]string{"core": one("true", "false")}})
				}
				before := s.classifications()
				s.rederive()
				if diff := cmp.Diff(before, s.classifications()); diff != "" {
					t.Fatalf("step %d: the whole estate derived again is another (-before +after):\n%s", step, diff)
				}
			}
		})
	}
}

// drawnList lists machines, accounts and units.
func drawnList(r *rand.Rand, instance, name, account func() string) string {
	var rows []string
	seen := map[string]bool{}
	for range 1 + r.IntN(5) {
		i, n, a := instance(), name(), account()
		k := i
		if i == "" {
			k = a + "/" + strings.ToLower(n)
		}
		if !seen[k] {
			seen[k] = true
			rows = append(rows, fmt.Sprintf("%s,%s,%s,%s,%s,owner-%d", i, n, a, []string{"prod", "dev"}[r.IntN(2)], []string{"x", "y"}[r.IntN(2)], r.IntN(3)))
		}
	}
	return "instance_id,name,account,tag:env,tag:team,owner\n" + strings.Join(rows, "\n") + "\n"
}

// rederive derives every asset again, which rules with another comment do.
func (s *scene) rederive() {
	s.Helper()
	s.rules(fmt.Sprintf("version: 1\nrules: [{id: pay, match: {tag: {env: prod}}, set: {environment: production, owner: {tag: team}}}]\n# %s\n", s.now))
}

// classifications are what is recorded of every asset, without whose act and when.
func (s *scene) classifications() map[string]string {
	s.Helper()
	as, err := s.st.Assets(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	out := map[string]string{}
	for _, a := range as {
		var by []string
		for _, n := range classify.All {
			if o, ok := a.Classified.Provenance[n]; ok {
				by = append(by, fmt.Sprint(n, "=", a.Attributes.Get(n), " by ", o.Source, " ", o.Name))
			}
		}
		out[a.ID] = strings.Join(append(by, a.Classified.Notes...), "\n")
	}
	return out
}
