package sla

import (
	"fmt"
	"time"

	"github.com/patchproof/patchproof/collector/finding"
)

const secondsPerDay = 24 * 60 * 60

// day is a calendar date without a zone: days since 1970-01-01.
type day int

// dayOf is the local date of an instant.
func dayOf(t time.Time, zone *time.Location) day {
	_, offset := t.In(zone).Zone()
	return floorDay(t.Unix() + int64(offset))
}

func floorDay(seconds int64) day {
	d := seconds / secondsPerDay
	if seconds%secondsPerDay < 0 {
		d--
	}
	return day(d)
}

// parseDay reads YYYY-MM-DD.
func parseDay(d finding.Date) (day, error) {
	t, err := time.Parse(time.DateOnly, string(d))
	if err != nil {
		return 0, fmt.Errorf("date %q is not a calendar date YYYY-MM-DD", string(d))
	}
	n := floorDay(t.Unix())
	if n < firstDay || n >= endDay {
		return 0, fmt.Errorf("date %s does not lie in the years 1970 to 2149", string(d))
	}
	return n, nil
}

// The days that a policy's calendars cover: 1970-01-01 up to 2150-01-01.
const (
	firstDay day = 0
	endDay   day = 65744
)

// covered says whether an instant lies in the years of the calendars, or is not given.
func covered(t time.Time) bool {
	return t.IsZero() || (t.Unix() >= int64(firstDay)*secondsPerDay-secondsPerDay && t.Unix() < int64(endDay)*secondsPerDay)
}

// String is YYYY-MM-DD; the years of a policy have four digits.
func (d day) String() string {
	year, month, dom := time.Unix(int64(d)*secondsPerDay, 0).UTC().Date()
	return string([]byte{
		byte('0' + year/1000%10), byte('0' + year/100%10), byte('0' + year/10%10), byte('0' + year%10), '-',
		byte('0' + int(month)/10), byte('0' + int(month)%10), '-',
		byte('0' + dom/10), byte('0' + dom%10),
	})
}

func (d day) date() finding.Date { return finding.Date(d.String()) }

// begin is the first instant whose local date is d, or later where the zone
// skipped d. Midnight itself need not exist, and may exist twice.
func (d day) begin(zone *time.Location) time.Time {
	wall := int64(d) * secondsPerDay
	// No offset reaches 24 hours, so this instant lies before the local day.
	at := time.Unix(wall-secondsPerDay, 0).In(zone)
	for {
		_, offset := at.Zone()
		midnight := wall - int64(offset)
		if midnight <= at.Unix() {
			return at // the zone jumped over midnight at this instant
		}
		_, end := at.ZoneBounds()
		if end.IsZero() || midnight < end.Unix() {
			return time.Unix(midnight, 0).In(zone)
		}
		at = end
	}
}

// breach is the first instant after the local day d, in UTC.
func (d day) breach(zone *time.Location) time.Time { return (d + 1).begin(zone).UTC() }

// LocalDate is the calendar date of an instant in the policy's zone.
func (p *Policy) LocalDate(t time.Time) finding.Date { return dayOf(t, p.Zone).date() }

// StartOf is the first instant of a local day in the policy's zone: what a date
// without a time means.
func (p *Policy) StartOf(d finding.Date) (time.Time, error) {
	n, err := parseDay(d)
	if err != nil {
		return time.Time{}, err
	}
	return n.begin(p.Zone), nil
}
