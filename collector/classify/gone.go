package classify

import "time"

// Gone is the word of a list that an asset is terminated.
type Gone struct {
	// Source names the list, Digest the file that first said so, By who imported it.
	Source string `json:"source"`
	Digest string `json:"digest"`
	By     string `json:"by,omitempty"`
	// Leaf is of that import, At its instant.
	Leaf int64     `json:"leaf"`
	At   time.Time `json:"at"`
	// Place is where the file says so: "line 12".
	Place string `json:"place,omitempty"`
}

// notListed is the place of an entry that a whole list leaves out.
const notListed = "not listed any more"

// Absent is what an entry becomes when a file that is its list's whole leaves it
// out: terminated. ok is false for what does not end by that.
func Absent(e Entry) (gone Entry, ok bool) {
	if e.Kind != KindInstance || e.State == Terminated {
		return e, false
	}
	e.State, e.Place = Terminated, notListed
	return e, true
}

// TerminatedBy is the entry that says an asset is gone, nil when a newer word has
// it otherwise. Entries are those of one asset, newest first.
func TerminatedBy(entries []Listed) *Listed {
	for i := range entries {
		switch entries[i].State {
		case Terminated:
			return &entries[i]
		case Running, Stopped:
			return nil
		}
	}
	return nil
}

// goneBy is TerminatedBy in words to keep.
func goneBy(entries []Listed) *Gone {
	l := TerminatedBy(entries)
	if l == nil {
		return nil
	}
	return &Gone{Source: l.Source, Digest: l.Digest, By: l.By, Leaf: l.Leaf, At: l.At, Place: l.Place}
}
