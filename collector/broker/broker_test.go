package broker_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/patchproof/patchproof/collector/broker"
)

func open(t *testing.T, dir, offline string) *broker.Authority {
	t.Helper()
	a, err := broker.Open(dir, offline, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// transportKey is a new host's.
func transportKey(t *testing.T) string {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	key, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestHostClaimsSayNothingButWho(t *testing.T) {
	a, key := open(t, t.TempDir()+"/a", ""), transportKey(t)
	text, err := a.Issue(key, "web-1\n"+strings.Repeat("x", 5000), 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 2000 {
		t.Errorf("%d bytes: a broker reads 4 KiB of what a connection first says", len(text))
	}
	c, err := jwt.DecodeUserClaims(text)
	if err != nil {
		t.Fatal(err)
	}
	if c.Subject != key || c.IssuerAccount != a.ID(broker.Hosts) || !c.HasEmptyPermissions() || strings.Contains(c.Name, "\n") {
		t.Errorf("got %s", c)
	}
	if left := time.Until(time.Unix(c.Expires, 0)); left > broker.DefaultTTL || left < broker.DefaultTTL-time.Minute {
		t.Errorf("expires in %s, want %s", left, broker.DefaultTTL)
	}
	hosts, err := jwt.DecodeAccountClaims(a.AccountJWT(broker.Hosts))
	if err != nil {
		t.Fatal(err)
	}
	scope, ok := hosts.SigningKeys.GetScope(c.Issuer)
	if !ok {
		t.Fatalf("signed by %s, which the account does not name", c.Issuer)
	}
	got := scope.(*jwt.UserScope).Template
	want := jwt.Permissions{
		Pub: jwt.Permission{Allow: jwt.StringList{"patchproof.v1.reports.{{subject()}}"}},
		Sub: jwt.Permission{Allow: jwt.StringList{"patchproof.v1.receipts.{{subject()}}", "_INBOX.{{subject()}}.>"}},
	}
	if d := cmp.Diff(want, got.Permissions); d != "" {
		t.Errorf("a host may (-want +got):\n%s", d)
	}
	if got.Subs <= 0 || got.Payload != broker.MaxMessage || got.BearerToken || hosts.Limits.IsJSEnabled() || !hosts.Limits.DisallowBearer {
		t.Errorf("limits: %+v, account %+v", got.Limits, hosts.Limits)
	}
}

func TestIssueRefuses(t *testing.T) {
	a, key := open(t, t.TempDir()+"/a", ""), transportKey(t)
	damaged := []byte(key)
	damaged[20] ^= 'A' ^ 'B' // another letter of base32, or none at all
	for name, c := range map[string]struct {
		key string
		ttl time.Duration
	}{
		"too_long": {key, broker.MaxTTL + 1}, "negative": {key, -1}, "no_key": {"", 0}, "wildcard": {"*", 0},
		"account_key": {a.ID(broker.Hosts), 0}, "checksum": {string(damaged), 0},
	} {
		if _, err := a.Issue(c.key, "x", c.ttl); err == nil {
			t.Errorf("%s: issued", name)
		}
	}
}

func TestAuthorityIsMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys", "broker")
	first, second := open(t, dir, ""), open(t, dir, "")
	if first.OperatorJWT() != second.OperatorJWT() || first.AccountJWT(broker.Hosts) != second.AccountJWT(broker.Hosts) {
		t.Error("the authority changed between two opens")
	}
	if err := broker.Init(dir, ""); !errors.Is(err, broker.ErrExists) {
		t.Errorf("made again: %v", err)
	}
	err := filepath.WalkDir(filepath.Dir(dir), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %04o", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Nothing that runs needs the identity keys; and a new authority under the same
// ones has the same accounts.
func TestIdentityKeysMayBeTakenAway(t *testing.T) {
	offline, dir := filepath.Join(t.TempDir(), "medium"), filepath.Join(t.TempDir(), "broker")
	before := open(t, dir, offline)
	away := offline + ".away"
	if err := os.Rename(offline, away); err != nil {
		t.Fatal(err)
	}
	after, key := open(t, dir, offline), transportKey(t)
	if _, err := after.Issue(key, "host", 0); err != nil {
		t.Errorf("issue: %v", err)
	}
	after.OnPush(func(context.Context, string, string) error { return nil })
	if err := after.Revoke(t.Context(), key); err != nil {
		t.Errorf("revoke: %v", err)
	}
	if _, err := os.Stat(offline); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made again: %v", err)
	}
	again := open(t, filepath.Join(t.TempDir(), "broker"), away)
	for _, n := range []broker.Account{broker.System, broker.Collector, broker.Hosts} {
		if again.ID(n) != before.ID(n) {
			t.Errorf("account %s is another one", n)
		}
	}
	if again.OperatorJWT() == before.OperatorJWT() {
		t.Error("the signing key is the same")
	}
}

func TestMixedBackupsAreRefused(t *testing.T) {
	for _, name := range []string{
		"operator.jwt", "operator.nk", "system.jwt", "system.nk", "hosts.jwt", "hosts.nk", "collector.jwt", "collector.nk", "guests.jwt", "guests.nk",
	} {
		t.Run(name, func(t *testing.T) {
			mine, other := t.TempDir()+"/a", t.TempDir()+"/b"
			open(t, mine, "")
			open(t, other, "")
			text, err := os.ReadFile(filepath.Join(other, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(mine, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := broker.Open(mine, "", time.Now); err == nil {
				t.Error("opened")
			}
		})
	}
}

func TestDamagedFilesAreRefused(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, dir string) error{
		"seed_gone":      func(_ *testing.T, dir string) error { return os.Remove(dir + "/hosts.nk") },
		"claims_gone":    func(_ *testing.T, dir string) error { return os.Remove(dir + "/hosts.jwt") },
		"claims_cut":     func(_ *testing.T, dir string) error { return os.Truncate(dir+"/hosts.jwt", 100) },
		"seed_shared":    func(_ *testing.T, dir string) error { return os.Chmod(dir+"/hosts.nk", 0o644) },
		"dir_shared":     func(_ *testing.T, dir string) error { return os.Chmod(dir, 0o755) },
		"seed_of_a_user": func(t *testing.T, dir string) error { return os.WriteFile(dir+"/hosts.nk", userSeed(t), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir() + "/a"
			open(t, dir, "")
			if err := change(t, dir); err != nil {
				t.Fatal(err)
			}
			if _, err := broker.Open(dir, "", time.Now); err == nil {
				t.Error("opened")
			}
		})
	}
}

func userSeed(t *testing.T) []byte {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

// A revocation holds although no broker heard of it, and is told with the next push.
func TestRevocationOutlivesTheBroker(t *testing.T) {
	dir, key := t.TempDir()+"/a", transportKey(t)
	now := time.Now()
	a, err := broker.Open(dir, "", func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Revoke(t.Context(), key); !errors.Is(err, broker.ErrNotLive) {
		t.Errorf("got %v, want ErrNotLive", err)
	}
	later := now.Add(broker.MaxTTL)
	b, err := broker.Open(dir, "", func() time.Time { return later })
	if err != nil {
		t.Fatal(err)
	}
	told := ""
	b.OnPush(func(_ context.Context, account, claims string) error {
		if account != b.ID(broker.Hosts) {
			t.Errorf("pushed account %s", account)
		}
		told = claims
		return nil
	})
	if err := b.Push(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := jwt.DecodeAccountClaims(told)
	if err != nil || !c.Revocations.IsRevoked(key, now.Add(-time.Second)) || c.Revocations.IsRevoked(key, now.Add(2*time.Second)) {
		t.Errorf("told %v, %v", c, err)
	}
	// While any claims may still hold it stays; then it goes, with the next one.
	other := transportKey(t)
	if err := b.Revoke(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if list, err := b.Revoked(); err != nil || len(list) != 2 {
		t.Errorf("got %v, %v; want both", list, err)
	}
	later = now.Add(broker.MaxTTL + 2*time.Hour)
	if err := b.Revoke(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if list, err := b.Revoked(); err != nil || len(list) != 1 || list[0].TransportKey != other {
		t.Errorf("got %v, %v; want the later one only", list, err)
	}
	if err := b.Revoke(t.Context(), jwt.All); err == nil {
		t.Error("revoked everybody")
	}
}
