package match

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/version"
	"github.com/patchproof/patchproof/schema"
)

// judgement is what the rows of one advisory say of one version.
type judgement struct {
	verdict Verdict // Affected, NotAffected or Undetermined
	adv     *advisory.Advisory
	fixed   string
	reason  string

	fixedKey []byte
}

// subject is an installed package with what comparing it needs.
type subject struct {
	pkg *schema.Package
	// key is the sort key of the version, nil when it cannot be read; why then says so.
	key []byte
	why string
	// module is name:stream, empty outside modules. modular is true for a module's
	// package, also where the stream is not recorded.
	module  string
	modular bool
	arch    string
}

// judge holds a version against the rows of one advisory that speak of its
// package. The worst row decides, but affected outweighs undetermined: what is
// affected by one range is affected.
func (ix *Index) judge(rows []row, s *subject) judgement {
	out := judgement{verdict: NotAffected}
	listed, endless := false, false
	for i := range rows {
		r := &rows[i]
		applies := appliesTo(r.aff, s)
		if applies == no {
			continue
		}
		v, at, reason := ix.judgeRow(r, s)
		listed = listed || ix.lists(r, s)
		if v == Affected && applies == maybe {
			v, reason = Undetermined, fmt.Sprintf("%s is of a module whose stream is not recorded; the advisory speaks of %s", s.pkg.Name, r.aff.Module)
		}
		found := judgement{verdict: v, adv: r.adv, fixed: fixedText(r, at), reason: reason}
		switch {
		case v == Affected:
			endless = endless || found.fixed == ""
			found.fixedKey = ix.fixedKey(r, at)
			if out.verdict != Affected || later(&found, &out) {
				out = found
			}
		case v == Undetermined && (out.verdict == NotAffected || out.verdict == Undetermined && plainer(&found, &out)):
			out = found
		}
	}
	if out.verdict == Affected && endless {
		out.fixed = ""
	}
	if out.verdict == Affected && listed && !endless {
		return judgement{verdict: NotAffected}
	}
	return out
}

// later reports whether a is fixed by a later version than b; of two spellings
// of one version the first in byte order counts.
func later(a, b *judgement) bool {
	c := version.CompareKeys(a.fixedKey, b.fixedKey)
	return c > 0 || c == 0 && a.fixed < b.fixed
}

// plainer orders what is undetermined, so that the order of rows does not matter.
func plainer(a, b *judgement) bool {
	return cmp.Or(strings.Compare(b.fixed, a.fixed), strings.Compare(a.reason, b.reason)) < 0
}

// judgeRow holds a version against one row: the verdict, the range that gave
// it, and the reason when undetermined.
func (ix *Index) judgeRow(r *row, s *subject) (Verdict, int, string) {
	ranges := ix.ranges[r.ranges.from:r.ranges.to]
	if len(ranges) == 0 {
		return Undetermined, 0, "the advisory names no affected versions"
	}
	if s.key == nil {
		return Undetermined, 0, "installed version cannot be compared: " + s.why
	}
	unclear := -1
	for i := range ranges {
		switch ix.within(&ranges[i], s.key) {
		case yes:
			return Affected, i, ""
		case maybe:
			if unclear < 0 {
				unclear = i
			}
		case no:
		}
	}
	if unclear >= 0 {
		return Undetermined, unclear, "the advisory's version cannot be compared: " + unreadableText(r, unclear)
	}
	return NotAffected, 0, ""
}

// answer is a three-valued truth.
type answer uint8

const (
	no answer = iota
	maybe
	yes
)

// within answers whether a version lies in [introduced, fixed) or [introduced, last].
func (ix *Index) within(b *bounds, key []byte) answer {
	after, before := yes, yes
	switch b.introduced.kind {
	case readable:
		if version.CompareKeys(key, ix.key(b.introduced)) < 0 {
			return no
		}
	case unreadable:
		after = maybe
	case unbounded:
	}
	switch {
	case b.fixed.kind == readable:
		if version.CompareKeys(key, ix.key(b.fixed)) >= 0 {
			return no
		}
	case b.fixed.kind == unreadable:
		before = maybe
	case b.last.kind == readable:
		if version.CompareKeys(key, ix.key(b.last)) > 0 {
			return no
		}
	case b.last.kind == unreadable:
		before = maybe
	}
	return min(after, before)
}

// lists reports whether an rpm row names this very build as a fixed one.
func (ix *Index) lists(r *row, s *subject) bool {
	if s.key == nil || r.aff.Format != schema.FormatRPM || r.aff.Kind != advisory.NameBinary || s.pkg.Release == "" {
		return false
	}
	if r.ranges.to-r.ranges.from != 1 {
		return false
	}
	b := &ix.ranges[r.ranges.from]
	return b.introduced.kind == unbounded && b.fixed.kind == readable && string(s.key) == string(ix.key(b.fixed))
}

// fixedKey is the key of the version that fixes a row's range, empty when none does.
func (ix *Index) fixedKey(r *row, i int) []byte {
	return ix.key(ix.ranges[r.ranges.from+int32(i)].fixed)
}

// fixedText is the fixed version of a row's range as the publisher writes it.
func fixedText(r *row, i int) string {
	if i >= len(r.aff.Ranges) {
		return ""
	}
	return r.aff.Ranges[i].Fixed
}

// unreadableText says which version of a row's range cannot be read.
func unreadableText(r *row, i int) string {
	texts := []string{}
	if len(r.aff.Ranges) == 0 {
		texts = append(texts, r.aff.Versions[i])
	} else {
		rg := r.aff.Ranges[i]
		texts = append(texts, rg.Introduced, rg.Fixed, rg.LastAffected)
	}
	for _, v := range texts {
		if v == "" && len(r.aff.Ranges) > 0 {
			continue
		}
		if _, err := version.AppendKey(nil, r.aff.Format, v); err != nil {
			return err.Error()
		}
	}
	return "unknown"
}
