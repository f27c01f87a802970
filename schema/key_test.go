package schema_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"
	"pgregory.net/rapid"

	"github.com/patchproof/patchproof/schema"
)

func testKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey { return ed25519.PublicKey(key[32:]) }

func TestKeyIDRoundTrips(t *testing.T) {
	pub := publicOf(testKey(1))
	id := schema.KeyID(pub)
	if want := hex.EncodeToString(pub); id != want {
		t.Fatalf("got %s, want %s", id, want)
	}
	back, err := schema.ParseKeyID(id)
	if err != nil || !back.Equal(pub) {
		t.Fatalf("got %x, %v; want %x", back, err, pub)
	}
}

func TestParseKeyIDRefuses(t *testing.T) {
	id := schema.KeyID(publicOf(testKey(1)))
	for name, s := range map[string]string{
		"empty": "", "short": id[2:], "long": id + "00", "upper_case": strings.ToUpper(id), "not_hex": "z" + id[1:],
		"y_is_the_prime":  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"y_over_prime":    "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"identity_signed": "0100000000000000000000000000000000000000000000000000000000000080",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := schema.ParseKeyID(s); err == nil {
				t.Errorf("key id %q was accepted", s)
			}
		})
	}
}

// Each key here verifies, with crypto/ed25519 itself, a signature nobody needed
// a private key for: R the identity, S zero. For a point of order n that holds
// for about one message in n.
func TestParseKeyIDRefusesKeysAnybodyCanSignFor(t *testing.T) {
	forged := make([]byte, ed25519.SignatureSize)
	forged[0] = 1
	for _, y := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		for _, sign := range []byte{0, 0x80} {
			key, err := hex.DecodeString(y)
			if err != nil {
				t.Fatal(err)
			}
			key[31] |= sign
			if !anyForged(key, forged) {
				t.Errorf("key %x: no message verifies; the test vector is wrong", key)
			}
			if _, err := schema.ParseKeyID(hex.EncodeToString(key)); err == nil {
				t.Errorf("key %x was accepted", key)
			}
		}
	}
}

func anyForged(key ed25519.PublicKey, forged []byte) bool {
	for i := range uint32(500) {
		if ed25519.Verify(key, binary.LittleEndian.AppendUint32(nil, i), forged) {
			return true
		}
	}
	return false
}

func TestFingerprintFormAndVector(t *testing.T) {
	got := schema.Fingerprint(publicOf(testKey(1)))
	groups := strings.Split(got, "-")
	if len(groups) != 13 {
		t.Fatalf("got %q, want 13 groups", got)
	}
	for _, g := range groups {
		if len(g) != 4 || strings.Trim(g, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
			t.Errorf("group %q of %q: want 4 characters of base32", g, got)
		}
	}
}

func TestParseFingerprintAcceptsWhatPeopleType(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key")
		want := schema.Fingerprint(key)
		typed := rapid.SampledFrom([]string{
			want, strings.ToLower(want), strings.ReplaceAll(want, "-", ""), strings.ReplaceAll(want, "-", " "),
			" " + strings.ReplaceAll(want, "-", " - ") + "\n",
		}).Draw(t, "typed")
		got, err := schema.ParseFingerprint(typed)
		if err != nil || got != want {
			t.Fatalf("typed %q: got %q, %v; want %q", typed, got, err, want)
		}
	})
}

func TestParseFingerprintRefuses(t *testing.T) {
	good := schema.Fingerprint(publicOf(testKey(1)))
	for name, s := range map[string]string{
		"empty": "", "short": good[:len(good)-5], "long": good + "-AAAA", "digit_one": "1" + good[1:],
		"spare_bits_set": good[:len(good)-1] + "B", "padded": good + "====", "endless": strings.Repeat(" ", 1000) + good,
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := schema.ParseFingerprint(s); err == nil {
				t.Errorf("fingerprint %q was accepted as %q", s, got)
			}
		})
	}
}

func TestSubjectsRoundTrip(t *testing.T) {
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	key, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := schema.ReportSubject(key), "patchproof.v1.reports."+key; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := schema.ReceiptSubject(key), "patchproof.v1.receipts."+key; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got, err := schema.TransportKeyOf(schema.ReportSubject(key))
	if err != nil || got != key {
		t.Errorf("got %q, %v; want %q", got, err, key)
	}
}

func TestTransportKeyOfRefuses(t *testing.T) {
	key := "U" + strings.Repeat("A", 55)
	for name, subject := range map[string]string{
		"receipts": schema.ReceiptSubject(key), "wildcard": schema.SubjectReportsAll, "tail": "patchproof.v1.reports.>",
		"account_key": schema.ReportSubject("A" + key[1:]), "short": schema.ReportSubject(key[1:]), "dot": schema.ReportSubject(key[:55] + "."),
		"lower_case": schema.ReportSubject(strings.ToLower(key)), "empty": "", "more": schema.ReportSubject(key) + ".x",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := schema.TransportKeyOf(subject); err == nil {
				t.Errorf("subject %q was accepted as of %q", subject, got)
			}
		})
	}
}
