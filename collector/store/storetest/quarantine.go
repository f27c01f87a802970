package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/patchproof/patchproof/collector/store"
)

var quarantine = []test{
	{"RoundTrip", quarantineRoundTrip},
	{"CountsTheSameEnvelope", quarantineCounts},
	{"CapsEnvelopesOfAKey", quarantineCapKey},
	{"CapsBytesOfAKey", quarantineCapBytes},
	{"CapsTheTotal", quarantineCapTotal},
	{"ZeroLimitsKeepNothing", quarantineZero},
	{"ReleaseMakesRoom", quarantineRelease},
	{"KeysByReason", quarantineKeys},
	{"RawByKeyAndReason", quarantineRaw},
	{"NewestFirst", quarantineOrder},
	{"HostileWords", quarantineHostile},
}

var wide = store.QuarantineLimits{PerKey: 1000, Total: 1000, BytesPerKey: 1 << 30, BytesTotal: 1 << 30}

func refused(k, reason, raw string, at time.Time) store.Quarantined {
	return store.Quarantined{
		Digest: digest(raw), Key: k, Reason: reason, Detail: "because", Road: "nats", FirstAt: at, LastAt: at, Raw: []byte(raw),
	}
}

func keep(t *testing.T, s store.Store, q store.Quarantined, lim store.QuarantineLimits) bool {
	t.Helper()
	return must[bool](t)(s.Quarantine(t.Context(), q, lim, leaf("quarantine")))
}

func held(t *testing.T, s store.Store, k string) []store.Quarantined {
	t.Helper()
	return must[[]store.Quarantined](t)(s.QuarantinedEnvelopes(t.Context(), k, 0))
}

func quarantineRoundTrip(t *testing.T, s store.Store) {
	q := refused("k", "unknown_key", "raw\x00", t0)
	wantEqual(t, "kept", keep(t, s, q, wide), true)
	want := q
	want.Count, want.FirstAt, want.LastAt, want.Raw = 1, rounded(t0), rounded(t0), nil
	wantEqual(t, "listed", held(t, s, ""), []store.Quarantined{want})
	want.Raw = q.Raw
	wantEqual(t, "raw", must[[]store.Quarantined](t)(s.QuarantinedRaw(t.Context(), "k", "unknown_key")), []store.Quarantined{want})
	wantEqual(t, "one", must[store.Quarantined](t)(s.QuarantinedEnvelope(t.Context(), q.Digest)), want)
	_, err := s.QuarantinedEnvelope(t.Context(), digest("another"))
	wantErr(t, "one that is not there", err, store.ErrNotFound)
	wantEqual(t, "leaves", leafCount(t, s), int64(1))
}

func quarantineCounts(t *testing.T, s store.Store) {
	lim := wide
	lim.Total = 1
	keep(t, s, refused("k", "unknown_key", "raw", t0), lim)
	again := refused("k", "sequence_fork", "raw", after(time.Hour))
	wantEqual(t, "kept, though the cap is reached", keep(t, s, again, lim), true)
	got := held(t, s, "k")
	wantEqual(t, "count", got[0].Count, int64(2))
	wantEqual(t, "newest reason", got[0].Reason, "sequence_fork")
	wantEqual(t, "leaves, one for each reason", leafCount(t, s), int64(2))
	wantEqual(t, "first", got[0].FirstAt, rounded(t0))
	wantEqual(t, "last", got[0].LastAt, rounded(after(time.Hour)))
	keep(t, s, refused("k", "sequence_fork", "raw", t0), lim)
	wantEqual(t, "leaves after the same reason", leafCount(t, s), int64(2))
	wantEqual(t, "last does not go back", held(t, s, "k")[0].LastAt, rounded(after(time.Hour)))
}

func quarantineCapKey(t *testing.T, s store.Store) {
	lim := wide
	lim.PerKey = 2
	for i, want := range []bool{true, true, false, false} {
		wantEqual(t, fmt.Sprint("kept ", i), keep(t, s, refused("k", "r", fmt.Sprint("raw", i), after(time.Duration(i))), lim), want)
	}
	wantEqual(t, "another key's", keep(t, s, refused("other", "r", "its raw", t0), lim), true)
	wantEqual(t, "held", len(held(t, s, "k")), 2)
	wantEqual(t, "dropped", must[[]store.Dropped](t)(s.DroppedEnvelopes(t.Context())), []store.Dropped{
		{Key: "k", Reason: "r", Count: 2, FirstAt: rounded(after(2)), LastAt: rounded(after(3))},
	})
}

func quarantineCapBytes(t *testing.T, s store.Store) {
	lim := wide
	lim.BytesPerKey = 10
	wantEqual(t, "ten bytes", keep(t, s, refused("k", "r", "0123456789", t0), lim), true)
	wantEqual(t, "one more", keep(t, s, refused("k", "r", "x", t0), lim), false)
	lim.BytesPerKey, lim.BytesTotal = 100, 11
	wantEqual(t, "another key's byte", keep(t, s, refused("other", "r", "y", t0), lim), true)
	wantEqual(t, "a byte over the total", keep(t, s, refused("third", "r", "z", t0), lim), false)
}

func quarantineCapTotal(t *testing.T, s store.Store) {
	lim := wide
	lim.Total = 3
	kept := 0
	for i := range 10 {
		if keep(t, s, refused(fmt.Sprint("k", i), "r", fmt.Sprint("raw", i), t0), lim) {
			kept++
		}
	}
	wantEqual(t, "kept", kept, 3)
	dropped := int64(0)
	for _, d := range must[[]store.Dropped](t)(s.DroppedEnvelopes(t.Context())) {
		dropped += d.Count
	}
	wantEqual(t, "dropped", dropped, int64(7))
}

func quarantineZero(t *testing.T, s store.Store) {
	wantEqual(t, "kept", keep(t, s, refused("k", "r", "raw", t0), store.QuarantineLimits{}), false)
	wantEqual(t, "held", len(held(t, s, "")), 0)
	wantEqual(t, "leaves", leafCount(t, s), int64(0))
}

func quarantineRelease(t *testing.T, s store.Store) {
	lim := wide
	lim.PerKey, lim.Total = 1, 1
	q := refused("k", "r", "raw", t0)
	keep(t, s, q, lim)
	if err := s.ReleaseQuarantined(t.Context(), q.Digest, leaf("quarantine_released")); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "again", s.ReleaseQuarantined(t.Context(), q.Digest, leaf("quarantine_released")), store.ErrNotFound)
	wantEqual(t, "leaves of both acts", leafCount(t, s), int64(2))
	wantEqual(t, "room for the next", keep(t, s, refused("k", "r", "next", t0), lim), true)
}

func quarantineKeys(t *testing.T, s store.Store) {
	keep(t, s, refused("k1", "unknown_key", "a", t0), wide)
	keep(t, s, refused("k1", "unknown_key", "b", t0), wide)
	keep(t, s, refused("k1", "sequence_fork", "c", t0), wide)
	keep(t, s, refused("k2", "unknown_key", "d", t0), wide)
	keep(t, s, refused("", "bad_signature", "e", t0), wide)
	got := must[map[string]int64](t)(s.QuarantineKeys(t.Context(), "unknown_key"))
	wantEqual(t, "keys", got, map[string]int64{"k1": 2, "k2": 1})
	wantEqual(t, "no verified key", len(must[map[string]int64](t)(s.QuarantineKeys(t.Context(), "bad_signature"))), 0)
}

func quarantineRaw(t *testing.T, s store.Store) {
	keep(t, s, refused("k1", "unknown_key", "second", after(time.Second)), wide)
	keep(t, s, refused("k1", "unknown_key", "first", t0), wide)
	keep(t, s, refused("k1", "sequence_fork", "x", t0), wide)
	keep(t, s, refused("k2", "unknown_key", "y", t0), wide)
	var got []string
	for _, q := range must[[]store.Quarantined](t)(s.QuarantinedRaw(t.Context(), "k1", "unknown_key")) {
		got = append(got, string(q.Raw))
	}
	wantEqual(t, "oldest first", got, []string{"first", "second"})
}

func quarantineOrder(t *testing.T, s store.Store) {
	for i := range 5 {
		keep(t, s, refused("k", "r", fmt.Sprint(i), after(time.Duration(i)*time.Minute)), wide)
	}
	list := must[[]store.Quarantined](t)(s.QuarantinedEnvelopes(t.Context(), "", 2))
	wantEqual(t, "newest two", []string{list[0].Digest, list[1].Digest}, []string{digest("4"), digest("3")})
}

func quarantineHostile(t *testing.T, s store.Store) {
	q := refused("k", "r", "raw", t0)
	q.Detail = "at byte 3: \x00 \xff '"
	keep(t, s, q, wide)
	wantEqual(t, "detail", held(t, s, "")[0].Detail, "at byte 3: \uFFFD \uFFFD '")
}
