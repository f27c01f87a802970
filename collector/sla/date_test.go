package sla

import (
	"testing"
	"time"
	_ "time/tzdata" // the host of a test may have no zones

	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/collector/finding"
)

// oddZones change their clocks at midnight, by half an hour, by whole days, or
// call winter time daylight saving.
var oddZones = []string{
	"Europe/Dublin", "UTC", "America/New_York", "America/Sao_Paulo", "Asia/Beirut", "Africa/Cairo", "America/St_Johns",
	"Australia/Lord_Howe", "Pacific/Apia", "Pacific/Kiritimati", "Asia/Kathmandu", "Africa/Casablanca", "America/Santiago",
}

func zone(t *rapid.T, name string) *time.Location {
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// A day begins at the first instant whose local date is that day, or a later one
// where the zone skipped it.
func TestDayBegins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z := zone(t, rapid.SampledFrom(oddZones).Draw(t, "zone"))
		d := day(rapid.IntRange(0, 50_000).Draw(t, "day"))
		at := d.begin(z)
		if got := dayOf(at, z); got < d {
			t.Fatalf("%s in %s begins at %s, still %s", d, z, at, got)
		}
		if got := dayOf(at.Add(-time.Second), z); got >= d {
			t.Fatalf("%s in %s begins at %s, but was %s a second before", d, z, at, got)
		}
	})
}

func TestDayBeginsByHand(t *testing.T) {
	for _, c := range []struct{ zone, day, want string }{
		{"Europe/Dublin", "2026-01-01", "2026-01-01T00:00:00Z"},
		{"Europe/Dublin", "2026-03-29", "2026-03-29T00:00:00Z"},
		{"Europe/Dublin", "2026-03-30", "2026-03-29T23:00:00Z"},
		{"Europe/Dublin", "2026-10-25", "2026-10-24T23:00:00Z"},
		{"Europe/Dublin", "2026-10-26", "2026-10-26T00:00:00Z"},
		{"America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"}, // midnight does not exist
		{"America/Sao_Paulo", "2018-02-18", "2018-02-18T03:00:00Z"}, // the hour before midnight twice
		{"Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z"},      // the day does not exist
		{"America/St_Johns", "2010-11-07", "2010-11-07T02:30:00Z"},  // midnight twice
	} {
		t.Run(c.zone+"/"+c.day, func(t *testing.T) {
			z, err := time.LoadLocation(c.zone)
			if err != nil {
				t.Fatal(err)
			}
			d, err := parseDay(finding.Date(c.day))
			if err != nil {
				t.Fatal(err)
			}
			if got := d.begin(z).UTC().Format(time.RFC3339); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if d.String() != c.day {
				t.Errorf("got %s, want %s", d, c.day)
			}
		})
	}
}

func TestParseDayIsStrict(t *testing.T) {
	for _, bad := range []string{"", "2026", "2026-2-3", "2026-02-30", "2026-02-03T00:00:00Z", "03/02/2026", " 2026-02-03"} {
		if d, err := parseDay(finding.Date(bad)); err == nil {
			t.Errorf("%q read as %s", bad, d)
		}
	}
}

func TestDayAgreesWithTheCalendar(t *testing.T) {
	at := time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)
	for d := floorDay(at.Unix()); at.Year() < 2200; d, at = d+1, at.AddDate(0, 0, 1) {
		if d.String() != at.Format(time.DateOnly) || dayOf(at, time.UTC) != d || dayOf(at.Add(24*time.Hour-1), time.UTC) != d {
			t.Fatalf("%d is %s, want %s", d, d, at.Format(time.DateOnly))
		}
	}
}

func TestNewCalendarRefuses(t *testing.T) {
	at := time.Date(2026, 3, 21, 22, 0, 0, 0, time.UTC)
	hour := time.Hour
	for name, ws := range map[string][]Window{
		"none":        {},
		"no length":   {{at, at}},
		"overlapping": {{at, at.Add(2 * hour)}, {at.Add(hour), at.Add(3 * hour)}},
		"disordered":  {{at, at.Add(hour)}, {at.Add(-5 * hour), at.Add(-4 * hour)}},
	} {
		if _, err := NewCalendar("c", time.UTC, at, 0, ws); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := NewCalendar("c", time.UTC, at, -hour, []Window{{at, at.Add(hour)}}); err == nil {
		t.Error("a negative cut-off was accepted")
	}
	c, err := NewCalendar("c", time.UTC, at.AddDate(0, -1, 0), 0, []Window{{at, at.Add(hour)}})
	if err != nil {
		t.Fatal(err)
	}
	if w, ok := c.Next(at.Add(-1)); !ok || !w.Start.Equal(at) {
		t.Errorf("just before the window: %v, %t", w, ok)
	}
	for _, outside := range []time.Time{at, at.AddDate(0, -2, 0)} {
		if w, ok := c.Next(outside); ok {
			t.Errorf("%s: got %v, want none", outside, w)
		}
	}
}
