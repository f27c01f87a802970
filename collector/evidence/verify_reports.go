package evidence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

// reports walks rows and leaves side by side: both are in leaf order.
func (r *run) reports() error {
	err := r.Store.EachReport(r.ctx, func(row store.Report) error {
		r.Reports++
		for {
			l, err := r.leaf()
			if err != nil {
				return err
			}
			if l == nil || l.Index > row.LeafIndex {
				r.problem("report "+row.ID, "its leaf %d is not there", row.LeafIndex)
				return r.row(row)
			}
			if l.Index < row.LeafIndex {
				if err := r.take(nil); err != nil {
					return err
				}
				continue
			}
			if err := r.take(&row); err != nil {
				return err
			}
			return r.row(row)
		}
	})
	// A row that cannot be decoded was altered; the rows after it are not reached.
	return r.fault("reports", err)
}

// reportLeaf holds a report's leaf against its row.
func (r *run) reportLeaf(where string, l store.Leaf, row *store.Report) error {
	var body ReportBody
	if err := OpenLeaf(l, &body); err != nil {
		return r.fault(where, err)
	}
	if row == nil {
		r.problem(where, "report %s has no row: it was removed", body.Report)
		return nil
	}
	if l.Kind != KindReport {
		r.problem("report "+row.ID, "its leaf %d is of kind %s", l.Index, l.Kind)
		return nil
	}
	want, err := ReportLeaf(*row)
	if err != nil {
		return r.fault(where, err)
	}
	if !bytes.Equal(want.Body, l.Body) {
		r.problem("report "+row.ID, "row and leaf %d differ in %s", l.Index, differing(want.Body, l.Body))
	}
	return nil
}

// differing names the fields in which two leaf bodies differ.
func differing(a, b []byte) string {
	var x, y struct {
		At   json.RawMessage            `json:"at"`
		Body map[string]json.RawMessage `json:"body"`
	}
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return "form"
	}
	names := map[string]struct{}{}
	if !bytes.Equal(x.At, y.At) {
		names["at"] = struct{}{}
	}
	for _, m := range []map[string]json.RawMessage{x.Body, y.Body} {
		for k := range m {
			if !bytes.Equal(x.Body[k], y.Body[k]) {
				names[k] = struct{}{}
			}
		}
	}
	if len(names) == 0 {
		return "form"
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), ", ")
}

// row holds a report's row against its own raw envelope, opened again, and its
// parts against their digests.
func (r *run) row(row store.Report) error {
	where := "report " + row.ID
	r.said.transport[row.Asset] = append(r.said.transport[row.Asset], row.Statement.TransportKey)
	opened, err := envelope.Open(row.Raw)
	if err != nil {
		return r.fault(where, fmt.Errorf("raw envelope: %w", err))
	}
	if opened.ID != row.ID {
		r.problem(where, "the raw envelope is of report %s", opened.ID)
	}
	if key := schema.KeyID(opened.Key); key != row.Key {
		r.problem(where, "the raw envelope is signed by %s, the row says %s", key, row.Key)
	}
	signed, err := opened.Report()
	if err != nil {
		return r.fault(where, fmt.Errorf("raw envelope: %w", err))
	}
	if diff := rowDiffers(row, signed); diff != "" {
		r.problem(where, "the row differs from what the host signed in %s", diff)
	}
	return r.checkParts(where, signed.Parts)
}

// rowDiffers names what a row says otherwise than the statement it came from.
func rowDiffers(row store.Report, signed *schema.Report) string {
	var names []string
	check := func(name string, same bool) {
		if !same {
			names = append(names, name)
		}
	}
	check("sequence", row.Sequence == signed.Sequence)
	check("previous", row.Previous == signed.Previous)
	check("collected_at", row.CollectedAt.Equal(instant(signed.CollectedAt)))
	check("release", row.Release == inventory.ReleaseOf(signed.OS.ID, signed.OS.VersionID))
	check("kernel", reflect.DeepEqual(row.Kernel, inventory.KernelOf(signed.Kernel)))
	if part, ok := signed.Part(schema.PartPackages); ok {
		check("set_digest", row.SetDigest == part.Digest)
	} else {
		check("set_digest", row.SetDigest == "")
	}
	bodiless := *signed
	bodiless.Bodies = nil
	want, err1 := json.Marshal(bodiless)
	got, err2 := json.Marshal(row.Statement)
	check("statement", err1 == nil && err2 == nil && bytes.Equal(want, got))
	return strings.Join(names, ", ")
}

// checkParts looks at each distinct part once.
func (r *run) checkParts(where string, parts []schema.Part) error {
	for _, p := range parts {
		if r.parts[p.Digest] {
			continue
		}
		r.parts[p.Digest] = true
		r.Parts++
		text, err := r.Store.Part(r.ctx, p.Digest)
		if err != nil {
			if err := r.fault("part "+p.Digest, fmt.Errorf("named by %s: %w", where, err)); err != nil {
				return err
			}
			continue
		}
		if got := schema.PartDigest(text); got != p.Digest {
			r.problem("part "+p.Digest, "the text's digest is %s", got)
		}
	}
	return nil
}

// chains follows every host's reports by the reports they name as previous.
func (r *run) chains() error {
	assets, err := r.Store.Assets(r.ctx)
	if err != nil {
		return r.fault("assets", err)
	}
	r.Assets = len(assets)
	for _, a := range assets {
		states, err := r.Store.States(r.ctx, a.ID, 0)
		if err != nil {
			if err := r.fault("reports of "+a.ID, err); err != nil {
				return err
			}
			continue
		}
		r.chain(a.ID, states)
		if err := r.checkAsset(a, states); err != nil {
			return err
		}
	}
	return nil
}

// place is a sequence of a key, with the reports received under it.
type place struct {
	sequence uint64
	here     []string
}

func (r *run) chain(asset string, states []store.Report) {
	last := map[string]place{} // by key
	for _, s := range states {
		p, ok := last[s.Key]
		k := Break{Asset: asset, Sequence: s.Sequence, Report: s.ID}
		switch {
		case ok && s.Sequence == p.sequence:
			k.Kind, k.What = BreakFork, fmt.Sprintf("report %s has this sequence too", p.here[0])
			p.here = append(p.here, s.ID)
		case !ok && s.Sequence > 1:
			k.Kind, k.What = BreakGap, fmt.Sprintf("no report before it was received, %d are missing", s.Sequence-1)
			p = place{sequence: s.Sequence, here: []string{s.ID}}
		case ok && s.Sequence != p.sequence+1:
			k.Kind, k.What = BreakGap, fmt.Sprintf("reports %d to %d were not received", p.sequence+1, s.Sequence-1)
			p = place{sequence: s.Sequence, here: []string{s.ID}}
		default:
			if ok && !slices.Contains(p.here, s.Previous) {
				k.Kind, k.What = BreakFork, fmt.Sprintf("it names %q as the report before, received was %q", s.Previous, strings.Join(p.here, ", "))
			}
			p = place{sequence: s.Sequence, here: []string{s.ID}}
		}
		last[s.Key] = p
		if k.Kind != "" {
			r.Breaks = append(r.Breaks, k)
		}
	}
}
