package assess_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/policy"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// Two collectors live through the same; one assesses whole assets whatever
// changed, the other dates by itself what only facts touch. Both must hold the
// same. (What a waiting approval would give also moves as time passes, unalarmed:
// so both assess everything at the instant before something happens.)
func TestFactsAloneGiveWhatAWholeAssessmentGives(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			part, whole := newLife(t, seed), newLife(t, seed)
			scoped := 0
			for range 60 {
				for _, l := range []*life{part, whole} {
					l.wait()
					l.step()
				}
				scoped += part.scoped()
				part.assess()
				whole.all()
				if diff := cmp.Diff(whole.findings(), part.findings()); diff != "" {
					t.Fatalf("after %q (-whole +by facts):\n%s", part.last, diff)
				}
			}
			if scoped < 10 {
				t.Errorf("%d marks named vulnerabilities, want ten at least", scoped)
			}
		})
	}
}

// life is a world to which things happen.
type life struct {
	*world
	r    *rand.Rand
	seq  uint64
	last string
	n    int
}

var lifeVulnerabilities = []string{"CVE-2026-1", "CVE-2026-2", "CVE-2026-3", "CVE-2026-4"}

func newLife(t *testing.T, seed uint64) *life {
	l := &life{world: newWorld(t), r: rand.New(rand.NewPCG(seed, 7))}
	l.advisories()
	l.hosts()
	l.assess()
	return l
}

// step makes one thing happen; facts change most often.
func (l *life) step() {
	l.n++
	switch n := l.r.IntN(12); n {
	case 0:
		l.last = "a report"
		l.hosts()
	case 1:
		l.last = "advisories"
		l.advisories()
	case 2:
		l.last = "attributes"
		l.attributes()
	case 3:
		l.last = "a policy"
		l.policy()
	default:
		l.last = "facts"
		l.facts()
	}
}

// wait lets time pass, and assesses everything.
func (l *life) wait() {
	l.t.Helper()
	l.clock = l.clock.Add(time.Duration(l.r.IntN(60)) * time.Hour)
	l.all()
}

func (l *life) all() {
	l.t.Helper()
	if err := l.st.MarkAll(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	l.assess()
}

func (l *life) hosts() {
	l.seq++
	pick := func(evrs ...string) string { return evrs[l.r.IntN(len(evrs))] }
	l.report(statement{sequence: l.seq, incomplete: l.r.IntN(5) == 0, packages: []schema.Package{
		deb("libssl3", "openssl", pick("1-1", "1-1", "2-1", "3-1")), deb("curl", "curl", pick("1-1", "2-1")), deb("odd", "odd", pick("1-1", "3-1")),
	}})
}

func (l *life) advisories() {
	var advs []advisory.Advisory
	for i, v := range lifeVulnerabilities {
		a := fixedIn(fmt.Sprint("DSA-", i), v, []string{"openssl", "curl", "odd", "openssl"}[i], []string{"2-1", "3-1"}[l.r.IntN(2)], l.clock.AddDate(0, 0, -l.r.IntN(20)))
		a.Rating = []string{"Low", "Medium", "High", "Critical"}[l.r.IntN(4)]
		advs = append(advs, a)
	}
	l.feed(advs...)
}

func (l *life) attributes() {
	at := store.Attributes{
		Class: sla.Compute, Exposure: []sla.Exposure{sla.Internet, sla.Internal}[l.r.IntN(2)],
		Environment: []sla.Environment{sla.Production, sla.NonProduction}[l.r.IntN(2)], CrownJewel: l.r.IntN(2) == 0,
	}
	if _, err := l.st.SetAttributes(l.t.Context(), assetID, "web-1", at, l.leaf("attributes")); err != nil {
		l.t.Fatal(err)
	}
}

// policy gives what is high another number of days.
func (l *life) policy() {
	_, src := policy.Default()
	const high = "internet: 30 days"
	if !strings.Contains(string(src), high) {
		l.t.Fatalf("the policy says %q no more", high)
	}
	text := strings.Replace(string(src), high, fmt.Sprintf("internet: %d days", 14+l.r.IntN(40)), 1) + fmt.Sprintf("# %d\n", l.n)
	p, err := policy.Read([]byte(text))
	if err != nil {
		l.t.Fatal(err)
	}
	rec := store.PolicyRecord{Digest: p.Digest, Source: []byte(text), AppliedAt: l.clock}
	if _, err := l.st.ApplyPolicy(l.t.Context(), rec, l.leaf("policy")); err != nil {
		l.t.Fatal(err)
	}
}

func (l *life) facts() {
	kinds := []string{"kev", "epss", "cve"}
	b := advisory.Batch{Feed: advisory.Feed{Kind: kinds[l.r.IntN(3)]}, Digest: fmt.Sprint(l.n)}
	b.Feed.Name = b.Feed.Kind
	for _, v := range lifeVulnerabilities {
		if l.r.IntN(3) > 0 {
			continue
		}
		f := advisory.Facts{Vulnerability: v}
		switch b.Feed.Kind {
		case "kev":
			f.KEV = &advisory.KEV{Added: l.clock.AddDate(0, 0, -l.r.IntN(9)).Format(time.DateOnly)}
		case "epss":
			f.EPSS = &advisory.EPSS{Score: float64(l.r.IntN(100)) / 100}
		default:
			f.Scores = []advisory.Score{{Version: "3.1", Value: float64(l.r.IntN(101)) / 10, Source: "nvd"}}
			f.SSVC = &advisory.SSVC{Exploitation: []string{"none", "poc", "active"}[l.r.IntN(3)], Automatable: []string{"yes", "no"}[l.r.IntN(2)]}
		}
		b.Facts = append(b.Facts, f)
	}
	l.apply(b)
}

// scoped counts the marks that name vulnerabilities.
func (l *life) scoped() int {
	l.t.Helper()
	marks, err := l.st.DirtyAssets(l.t.Context(), 0)
	if err != nil {
		l.t.Fatal(err)
	}
	n := 0
	for _, m := range marks {
		if len(m.Vulnerabilities) > 0 {
			n++
		}
	}
	return n
}

// Findings that time alone changed are not left out because facts changed too.
func TestFactsDoNotHideWhatFellDue(t *testing.T) {
	w := newWorld(t)
	w.feed(opensslAdv, fixedIn("DSA-2", "CVE-2026-0002", "curl", "2-1", start))
	w.report(statement{sequence: 1, packages: []schema.Package{opensslOld, deb("curl", "curl", "1-1")}})
	w.assess()
	w.days(200)
	w.apply(advisory.Batch{Feed: advisory.Feed{Name: "kev", Kind: "kev"}, Digest: "k", Facts: []advisory.Facts{
		{Vulnerability: "CVE-2026-0002", KEV: &advisory.KEV{Added: "2026-03-05"}},
	}})
	w.assess()
	if f := w.findings()[opensslKey]; f.Clock.Breach(finding.Patch) == nil {
		t.Errorf("got no breach of %s, due at %s", f.ID, f.Verdict.DueAt)
	}
}
