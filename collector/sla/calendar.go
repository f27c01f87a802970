package sla

import (
	"errors"
	"fmt"
	"sort"
	"time"
)

// Window is one patch window. The instants are whole seconds.
type Window struct {
	Start time.Time
	End   time.Time
}

// Calendar is a named row of patch windows over a span of years, computed once.
type Calendar struct {
	name    string
	rule    string
	from    int64
	windows []Window
	// cutoffs and lastDays go with windows: content is fixed at the cut-off, and
	// the window's deadline is the local date on which it ends.
	cutoffs  []int64
	lastDays []day
}

// NewCalendar makes a calendar of windows in order of time. It covers clock
// starts from the instant from up to its last cut-off, which lies cutoff before
// a window's start.
func NewCalendar(name string, zone *time.Location, from time.Time, cutoff time.Duration, windows []Window) (*Calendar, error) {
	if len(windows) == 0 {
		return nil, fmt.Errorf("calendar %s has no window", name)
	}
	if cutoff < 0 {
		return nil, fmt.Errorf("calendar %s: the cut-off lies after the start of the window", name)
	}
	c := &Calendar{
		name: name, from: from.Unix(), windows: windows,
		cutoffs: make([]int64, len(windows)), lastDays: make([]day, len(windows)),
	}
	var before Window
	for i, w := range windows {
		if !w.Start.Before(w.End) {
			return nil, fmt.Errorf("calendar %s: the window of %s has no length", name, dayOf(w.Start, zone))
		}
		if w.Start.Before(before.End) {
			return nil, fmt.Errorf("calendar %s: the window of %s is still open when the one of %s starts",
				name, dayOf(before.Start, zone), dayOf(w.Start, zone))
		}
		c.cutoffs[i] = w.Start.Add(-cutoff).Unix()
		c.lastDays[i] = lastDay(w.End, zone)
		before = w
	}
	return c, nil
}

// lastDay is the local date on which a window ends. One that ends at midnight
// ends with the day before: the next day has no part in it.
func lastDay(end time.Time, zone *time.Location) day { return dayOf(end.Add(-time.Nanosecond), zone) }

// Name is the calendar's name in the policy file.
func (c *Calendar) Name() string { return c.name }

// WithRule is the calendar with the rule it was made from, for people.
func (c *Calendar) WithRule(rule string) *Calendar {
	named := *c
	named.rule = rule
	return &named
}

// Rule says in words what its windows follow, as its maker gave it.
func (c *Calendar) Rule() string { return c.rule }

// EndsLaterThan reports whether there is a clock start, in the years both cover,
// for which the next window of c ends on a later day than that of other.
func (c *Calendar) EndsLaterThan(other *Calendar) bool {
	for i, cutoff := range other.cutoffs {
		// The last start for which window i of other is the next; c's next window is
		// never earlier than for the starts before it.
		at := cutoff - 1
		if at < other.from || (i > 0 && at < other.cutoffs[i-1]) {
			continue
		}
		n, err := c.next(time.Unix(at, 0))
		if err == nil && c.lastDays[n] > other.lastDays[i] {
			return true
		}
	}
	return false
}

// Windows are all windows the calendar holds. Do not change them.
func (c *Calendar) Windows() []Window { return c.windows }

var errOutsideSpan = errors.New("lies outside the years its calendar covers")

// next finds the first window whose cut-off lies after the instant.
func (c *Calendar) next(after time.Time) (int, error) {
	at := after.Unix()
	i := sort.Search(len(c.cutoffs), func(i int) bool { return c.cutoffs[i] > at })
	if at < c.from || i == len(c.cutoffs) {
		return 0, fmt.Errorf("%s %w (%s)", after.UTC().Format(time.DateOnly), errOutsideSpan, c.name)
	}
	return i, nil
}

// Next is the first window whose cut-off lies after the instant: the "next
// cycle". ok is false outside the years the calendar covers.
func (c *Calendar) Next(after time.Time) (w Window, ok bool) {
	i, err := c.next(after)
	if err != nil {
		return Window{}, false
	}
	return c.windows[i], true
}
