package assess

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/store"
)

// leavesAtOnce bounds how many leaves a replay holds.
const leavesAtOnce = 1024

// Replay makes every assessment again, by the code that made it, from the rest of
// the record as it was when the assessment read it, and holds what comes of it
// against what was recorded. It is an [evidence.Replay].
//
// It reads reports and parts, every version of every advisory, policies,
// attributes, approvals and the findings recorded before, each as of the leaf the
// assessment names, and the facts it recorded as read. It reads nothing that the
// assessment itself decided, but for what of the attributes was in force before.
//
// What it finds is only as good as that record: evidence.Verifier holds each of
// these against the log.
func Replay(ctx context.Context, st store.Store, problem func(where, what string), progress func(done int64)) (evidence.Replayed, error) {
	p, err := newPast(ctx, st)
	if err != nil {
		return evidence.Replayed{}, fmt.Errorf("replay assessments: %w", err)
	}
	r := &replayer{past: p, problem: problem, progress: progress, assessor: New(nil, nil, slog.New(slog.DiscardHandler))}
	r.assessor.past = p
	if err := r.run(ctx); err != nil {
		return r.done, fmt.Errorf("replay assessments: %w", err)
	}
	return r.done, nil
}

var _ evidence.Replay = Replay

type replayer struct {
	*past
	assessor *Assessor
	problem  func(where, what string)
	progress func(done int64)
	done     evidence.Replayed
	// plan has the assessments that read the record as of each number of leaves.
	plan map[int64][]store.Leaf
}

func (r *replayer) run(ctx context.Context) error {
	if err := r.makePlan(ctx); err != nil {
		return err
	}
	return r.each(ctx, func(l store.Leaf) error {
		if err := r.replayAll(ctx, l.Index); err != nil {
			return err
		}
		if err := r.take(ctx, l); err != nil {
			// Verifying the leaf says what is wrong with it; what follows is replayed
			// without it.
			r.problem(fmt.Sprintf("leaf %d", l.Index), "replay: "+err.Error())
		}
		return ctx.Err()
	})
}

// makePlan reads what each assessment stood on.
func (r *replayer) makePlan(ctx context.Context) error {
	r.plan = map[int64][]store.Leaf{}
	return r.each(ctx, func(l store.Leaf) error {
		if l.Kind != evidence.KindAssessment {
			return nil
		}
		var b evidence.AssessmentBody
		if err := evidence.OpenLeaf(l, &b); err != nil {
			return nil //nolint:nilerr // verifying the leaf says so
		}
		switch {
		case b.Outcomes == "":
			r.done.Old += len(b.Assets)
		case b.AsOf > l.Index:
			r.problem(fmt.Sprintf("leaf %d", l.Index), fmt.Sprintf("it stands on %d leaves, which came after it", b.AsOf))
		default:
			r.plan[b.AsOf] = append(r.plan[b.AsOf], store.Leaf{Index: l.Index, At: l.At})
		}
		return nil
	})
}

// each calls f for every leaf in order.
func (r *replayer) each(ctx context.Context, f func(store.Leaf) error) error {
	for from := int64(0); ; {
		leaves, err := r.st.Leaves(ctx, from, leavesAtOnce)
		if err != nil {
			return err
		}
		for _, l := range leaves {
			if err := f(l); err != nil {
				return err
			}
			from = l.Index + 1
		}
		if len(leaves) < leavesAtOnce {
			return nil
		}
	}
}

// replayAll replays the assessments that read the record as it is now taken in.
func (r *replayer) replayAll(ctx context.Context, leaves int64) error {
	for _, l := range r.plan[leaves] {
		if err := r.replay(ctx, l); err != nil {
			return err
		}
		r.progress(l.Index)
	}
	delete(r.plan, leaves)
	return nil
}

// replay makes the assessments of one leaf again.
func (r *replayer) replay(ctx context.Context, l store.Leaf) error {
	where := fmt.Sprintf("leaf %d", l.Index)
	outcomes, err := r.st.Outcomes(ctx, l.Index)
	if err != nil {
		r.problem(where, "replay: "+err.Error())
		return ctx.Err()
	}
	if r.old {
		r.done.Old += len(outcomes)
		return nil
	}
	recorded, err := r.recorded(ctx, l.Index)
	if err != nil {
		r.problem(where, "replay: "+err.Error())
		return ctx.Err()
	}
	if err := r.assessor.loadPolicy(ctx, l.At); err != nil {
		r.problem(where, "replay: "+err.Error())
		return ctx.Err()
	}
	for i := range outcomes {
		r.leaf, r.outcome = l.Index, &outcomes[i]
		stored := recorded[outcomes[i].Asset]
		delete(recorded, outcomes[i].Asset)
		if err := r.asset(ctx, l.At, stored); err != nil {
			r.problem("host "+outcomes[i].Asset, fmt.Sprintf("the assessment of leaf %d cannot be replayed: %v", l.Index, err))
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	for asset := range recorded {
		r.problem("host "+asset, fmt.Sprintf("leaf %d has findings of it and did not assess it", l.Index))
	}
	return nil
}

// recorded are the findings recorded under a leaf, by asset.
func (r *replayer) recorded(ctx context.Context, leaf int64) (map[string][]finding.Finding, error) {
	list, err := r.st.RecordedFindings(ctx, leaf)
	if err != nil {
		return nil, err
	}
	by := map[string][]finding.Finding{}
	for i := range list {
		by[list[i].Asset] = append(by[list[i].Asset], list[i])
	}
	return by, nil
}

// asset makes the assessment of one asset again.
func (r *replayer) asset(ctx context.Context, at time.Time, stored []finding.Finding) error {
	out, err := r.again(ctx, at)
	if err != nil {
		return err
	}
	r.done.Assessments++
	r.done.Decisions += len(out.Changed)
	got, err := out.Outcome()
	if err != nil {
		return err
	}
	if err := r.compare("host "+r.outcome.Asset, *r.outcome, got); err != nil {
		return err
	}
	given := make(map[string]finding.Finding, len(out.Changed))
	for _, f := range out.Changed {
		given[f.ID] = evidence.ExactFinding(f)
	}
	for _, f := range stored {
		g, ok := given[f.ID]
		delete(given, f.ID)
		if !ok {
			r.problem("finding "+f.ID, fmt.Sprintf("leaf %d records it, and by the log nothing of it changed then", r.leaf))
			continue
		}
		if err := r.compare("finding "+f.ID, f, g); err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(given)) {
		r.problem("finding "+id, fmt.Sprintf("by the log it changed at leaf %d, which does not record it", r.leaf))
	}
	return nil
}

// again makes the assessment again: of the whole asset, or of the findings that
// facts touched.
func (r *replayer) again(ctx context.Context, at time.Time) (store.Assessment, error) {
	m := store.Mark{Asset: r.outcome.Asset, Vulnerabilities: r.outcome.Only}
	if !scoped(m) {
		return r.assessor.asset(ctx, m, at)
	}
	as, err := r.Asset(ctx, m.Asset)
	if err != nil {
		return store.Assessment{}, err
	}
	list, err := r.AssetFindings(ctx, m.Asset)
	if err != nil {
		return store.Assessment{}, err
	}
	list = slices.DeleteFunc(list, func(f finding.Finding) bool {
		return !f.State.Running() || !slices.Contains(r.outcome.Only, f.Vulnerability)
	})
	d := &redating{assessor: r.assessor, advisories: r.named(list), now: at}
	if d.facts, err = r.Facts(ctx, r.outcome.Only); err != nil {
		return store.Assessment{}, err
	}
	out, ok, err := d.asset(ctx, m, as, list)
	if err == nil && !ok {
		err = errors.New("by the log the whole asset had to be assessed, not some findings of it")
	}
	return out, err
}

// named are the advisories behind some findings that then named them.
func (r *replayer) named(list []finding.Finding) map[advisoryKey]*advisory.Advisory {
	out := map[advisoryKey]*advisory.Advisory{}
	for i := range list {
		for _, c := range list[i].Packages {
			if a := r.history.Advisory(c.Feed, c.Advisory, r.leaves); a != nil && slices.Contains(a.Vulnerabilities, list[i].Vulnerability) {
				out[advisoryKey{c.Feed, c.Advisory}] = a
			}
		}
	}
	return out
}

// compare tells in what a record differs from what the log gives.
func (r *replayer) compare(where string, stored, given any) error {
	x, err := json.Marshal(stored)
	if err != nil {
		return err
	}
	y, err := json.Marshal(given)
	if err != nil || bytes.Equal(x, y) {
		return err
	}
	var a, b any
	if err := errors.Join(json.Unmarshal(x, &a), json.Unmarshal(y, &b)); err != nil {
		return err
	}
	var diff []string
	differences("", a, b, &diff)
	if len(diff) == 0 {
		return nil
	}
	const shown = 4
	more := ""
	if len(diff) > shown {
		more = fmt.Sprintf(", and %d more", len(diff)-shown)
		diff = diff[:shown]
	}
	r.problem(where, fmt.Sprintf("at leaf %d: %s%s", r.leaf, strings.Join(diff, "; "), more))
	return nil
}

// differences lists the fields in which two trees differ.
func differences(path string, stored, given any, out *[]string) {
	a, ok1 := stored.(map[string]any)
	b, ok2 := given.(map[string]any)
	if !ok1 || !ok2 {
		x, y := shown(stored), shown(given)
		if x != y {
			*out = append(*out, fmt.Sprintf("%s is stored as %s, the log gives %s", cmp.Or(path, "it"), x, y))
		}
		return
	}
	names := maps.Clone(a)
	maps.Copy(names, b)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		differences(strings.TrimPrefix(path+"."+name, "."), a[name], b[name], out)
	}
}

// shown is a value as people read it in a line. Values that differ beyond what
// is shown are told apart by their digests.
func shown(v any) string {
	const most = 200
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if v == nil {
		return "nothing"
	}
	if len(text) > most {
		return fmt.Sprintf("%s... (%d bytes, sha256 %.16s)", strings.ToValidUTF8(string(text[:most]), ""), len(text), evidence.Digest(text))
	}
	return string(text)
}
