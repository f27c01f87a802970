package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/teambition/rrule-go"

	"github.com/patchproof/patchproof/collector/sla"
)

// The years clock starts may lie in.
const (
	firstYear = 1970
	lastYear  = 2149
)

// maxRule bounds the text of a recurrence rule, maxInterval its INTERVAL.
const (
	maxRule     = 200
	maxInterval = 366
)

// readCalendars reads every calendar by name; one with a problem is left out.
func (r *reader) readCalendars(f field, zone *time.Location) map[string]*sla.Calendar {
	calendars := map[string]*sla.Calendar{}
	got := r.anyFields(f)
	for _, name := range sortedKeys(got) {
		if c := r.readCalendar(got[name], name, zone); c != nil {
			calendars[name] = c
		}
	}
	return calendars
}

func (r *reader) readCalendar(f field, name string, zone *time.Location) *sla.Calendar {
	before := len(r.problems)
	got := r.fields(f, []string{"rrule", "start", "hours"}, []string{"anchor", "cutoff_hours"})
	text, _ := r.word(got["rrule"])
	start := r.clockTime(got["start"])
	hours := r.whole(got["hours"], 1, 31*24)
	cutoff := 0
	if c, ok := got["cutoff_hours"]; ok {
		cutoff = r.whole(c, 0, 31*24)
	}
	anchor := time.Date(firstYear, 1, 1, 0, 0, 0, 0, time.UTC)
	_, anchored := got["anchor"]
	if anchored {
		anchor = r.anchor(got["anchor"])
	}
	if len(r.problems) > before || zone == nil {
		return nil
	}
	rule, err := parseRule(text, anchor, anchored)
	if err != nil {
		r.fail(got["rrule"], err.Error(), "for example FREQ=MONTHLY;BYDAY=3SA, the third Saturday of each month")
		return nil
	}
	windows := windowsOf(rule, start, time.Duration(hours)*time.Hour, zone)
	if gap := gapFault(windows); gap != "" {
		r.fail(got["rrule"], gap, "")
		return nil
	}
	from := time.Date(firstYear, 1, 1, 0, 0, 0, 0, zone)
	c, err := sla.NewCalendar(name, zone, from, time.Duration(cutoff)*time.Hour, windows)
	if err != nil {
		r.fail(f, err.Error(), "a window has to be shorter than the time between two")
		return nil
	}
	words := fmt.Sprintf("%s, %02d:%02d, %d hours", text, start/time.Hour, start%time.Hour/time.Minute, hours)
	if anchored {
		words += ", counted from " + anchor.Format(time.DateOnly)
	}
	if cutoff > 0 {
		words += fmt.Sprintf(", cut-off %d hours before", cutoff)
	}
	return c.WithRule(words)
}

// clockTime reads "22:00" as the time since midnight.
func (r *reader) clockTime(f field) time.Duration {
	w, ok := r.word(f)
	if !ok {
		return 0
	}
	t, err := time.Parse("15:04", w)
	if err != nil || len(w) != len("15:04") {
		r.fail(f, fmt.Sprintf("%q is not a time of day", w), "write it as \"22:00\", in quotes")
		return 0
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
}

func (r *reader) anchor(f field) time.Time {
	w, _ := r.word(f)
	t, err := time.Parse(time.DateOnly, w)
	if err != nil || t.Year() < firstYear || t.Year() > lastYear {
		r.fail(f, fmt.Sprintf("%q is not a date", w), fmt.Sprintf("write it as YYYY-MM-DD, from %d to %d", firstYear, lastYear))
	}
	return t
}

// parseRule reads a recurrence rule that says local days, without end.
func parseRule(text string, anchor time.Time, anchored bool) (*rrule.RRule, error) {
	if len(text) > maxRule || strings.ContainsAny(text, "\r\n") {
		return nil, fmt.Errorf("the recurrence rule is longer than %d characters or one line", maxRule)
	}
	o, err := rrule.StrToROption(text)
	if err != nil {
		return nil, fmt.Errorf("not a recurrence rule: %w", err)
	}
	if err := checkRule(o, anchored); err != nil {
		return nil, err
	}
	o.Dtstart = origin(o, anchor)
	o.Until = time.Date(lastYear+2, 1, 1, 0, 0, 0, 0, time.UTC)
	rule, err := rrule.NewRRule(*o)
	if err != nil {
		return nil, fmt.Errorf("not a recurrence rule: %w", err)
	}
	return rule, nil
}

// origin is the first day of a rule: the anchor moved back by whole intervals to
// before the first year, so that the calendar has no beginning an asset could
// fall before. What the rule would take from the anchor's day is written into it.
func origin(o *rrule.ROption, anchor time.Time) time.Time {
	step := max(o.Interval, 1)
	days := len(o.Byweekday) + len(o.Bymonthday) + len(o.Byyearday) + len(o.Byweekno)
	if days == 0 && o.Freq <= rrule.MONTHLY {
		o.Bymonthday = []int{anchor.Day()}
		if o.Freq == rrule.YEARLY && len(o.Bymonth) == 0 {
			o.Bymonth = []int{int(anchor.Month())}
		}
	}
	switch o.Freq {
	case rrule.YEARLY:
		back := (anchor.Year() - firstYear + step) / step * step
		return time.Date(anchor.Year()-back, 1, 1, 0, 0, 0, 0, time.UTC)
	case rrule.MONTHLY:
		months := (anchor.Year()-firstYear)*12 + int(anchor.Month()) - 1
		back := (months + step) / step * step
		return time.Date(anchor.Year(), anchor.Month()-time.Month(back), 1, 0, 0, 0, 0, time.UTC)
	case rrule.WEEKLY:
		step *= 7
	default: // DAILY
	}
	since := int(anchor.Sub(time.Date(firstYear, 1, 1, 0, 0, 0, 0, time.UTC)).Hours() / 24)
	return anchor.AddDate(0, 0, -(since+step)/step*step)
}

func checkRule(o *rrule.ROption, anchored bool) error {
	days := len(o.Byweekday) + len(o.Bymonthday) + len(o.Byyearday) + len(o.Byweekno)
	switch {
	case o.Freq > rrule.DAILY:
		return fmt.Errorf("FREQ is %s: only YEARLY, MONTHLY, WEEKLY and DAILY name days", o.Freq)
	case !o.Dtstart.IsZero():
		return fmt.Errorf("DTSTART is not read: use anchor")
	case o.Count != 0 || !o.Until.IsZero():
		return fmt.Errorf("COUNT and UNTIL end the calendar, and an asset would be left without a next cycle")
	case len(o.Byhour)+len(o.Byminute)+len(o.Bysecond) > 0:
		return fmt.Errorf("BYHOUR, BYMINUTE and BYSECOND are not read: use start")
	case len(o.Byeaster) > 0:
		return fmt.Errorf("BYEASTER is not part of RFC 5545")
	case o.Interval < 0 || o.Interval > maxInterval:
		return fmt.Errorf("INTERVAL is not from 1 to %d", maxInterval)
	case o.Interval > 1 && !anchored:
		return fmt.Errorf("INTERVAL needs the day to count from: anchor")
	case days == 0 && o.Freq != rrule.DAILY && !anchored:
		return fmt.Errorf("the rule names no day: add BYDAY, BYMONTHDAY, or an anchor")
	}
	return nil
}

// windowsOf lays the windows on the local days of a rule. A start that the
// zone's clocks skip moves as they do; the length is elapsed time.
func windowsOf(rule *rrule.RRule, start, length time.Duration, zone *time.Location) []sla.Window {
	var windows []sla.Window
	hour, minute := int(start/time.Hour), int(start%time.Hour/time.Minute)
	for _, day := range rule.All() {
		at := time.Date(day.Year(), day.Month(), day.Day(), hour, minute, 0, 0, zone)
		if at.Year() >= firstYear {
			windows = append(windows, sla.Window{Start: at, End: at.Add(length)})
		}
	}
	return windows
}

// maxGap is the longest time between two windows: a year, and the days by which
// a year's rule moves.
const maxGap = 373 * 24 * time.Hour

// gapFault says where a rule leaves too long without a window.
func gapFault(windows []sla.Window) string {
	if len(windows) == 0 {
		return "the recurrence rule never gives a day"
	}
	for i := 1; i < len(windows); i++ {
		if windows[i].Start.Sub(windows[i-1].Start) > maxGap {
			return fmt.Sprintf("no window for more than a year after %s", windows[i-1].Start.Format(time.DateOnly))
		}
	}
	last := windows[len(windows)-1].Start
	if last.Year() <= lastYear {
		return fmt.Sprintf("no window for more than a year after %s", last.Format(time.DateOnly))
	}
	return ""
}
