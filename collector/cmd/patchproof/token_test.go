package main

import (
	"testing"
	"time"
)

func TestParseLife(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"": 0, "90d": 90 * 24 * time.Hour, "12h": 12 * time.Hour, "30m": 30 * time.Minute, "1h30m": 90 * time.Minute,
	} {
		if got, err := parseLife(in); err != nil || got != want {
			t.Errorf("parseLife(%q) = %s, %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"0d", "-1d", "d", "90", "1.5d", "never", "-3h", "0s", "99999999999d", "1ms"} {
		if got, err := parseLife(in); err == nil {
			t.Errorf("parseLife(%q) = %s, want an error", in, got)
		}
	}
}
