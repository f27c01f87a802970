package evidence

import (
	"fmt"

	"github.com/patchproof/patchproof/collector/store"
)

// quarantine takes in that an envelope was refused, or left quarantine.
func (s *said) quarantine(l store.Leaf) error {
	if l.Kind == KindRelease {
		var b ReleaseBody
		if err := OpenLeaf(l, &b); err != nil {
			return err
		}
		if _, ok := s.refused[b.Digest]; !ok && !s.old {
			return fmt.Errorf("envelope %s left quarantine and was not in it", b.Digest)
		}
		delete(s.refused, b.Digest)
		return nil
	}
	var b QuarantineBody
	if err := OpenLeaf(l, &b); err != nil {
		return err
	}
	if was, ok := s.refused[b.Digest]; ok {
		was.Reason, was.Detail = b.Reason, b.Detail
		s.refused[b.Digest] = was
		return nil
	}
	s.refused[b.Digest] = refused{b, l.At}
	return nil
}

// checkQuarantine holds every envelope in quarantine against its leaves. How often
// it came, and when last, is not evidence.
func (r *run) checkQuarantine() error {
	err := r.Store.EachQuarantined(r.ctx, func(q store.Quarantined) error {
		want, ok := r.said.refused[q.Digest]
		delete(r.said.refused, q.Digest)
		switch {
		case !ok && r.said.old && len(q.Raw) > 0 && Digest(q.Raw) == q.Digest:
			// Refused before there were leaves for it.
		case !ok:
			r.problem("quarantine "+q.Digest, "no leaf says that it was refused")
		case quarantineBody(q) != want.QuarantineBody || !q.FirstAt.Equal(want.at):
			r.problem("quarantine "+q.Digest, "it is not what was refused, or not why")
		}
		return nil
	})
	if err != nil {
		return r.fault("quarantine", err)
	}
	for digest := range r.said.refused {
		r.problem("quarantine "+digest, "it was refused, did not leave quarantine and has no row: it was removed")
	}
	return nil
}
