package trust_test

import (
	"strings"
	"testing"

	"github.com/patchproof/patchproof/collector/trust"
)

func TestTokens(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		token, hash, err := trust.NewToken()
		if err != nil {
			t.Fatal(err)
		}
		if !trust.ValidToken(token) || !strings.HasPrefix(token, trust.TokenPrefix) {
			t.Errorf("token %q has not the form of one", token)
		}
		if hash != trust.HashToken(token) || strings.Contains(hash, token) || len(hash) != 64 {
			t.Errorf("hash %q", hash)
		}
		if seen[token] {
			t.Errorf("token %q came twice", token)
		}
		seen[token] = true
	}
}

func TestValidTokenRefuses(t *testing.T) {
	token, _, err := trust.NewToken()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", "pp_", token[3:], "PP_" + token[3:], token + "A", token[:len(token)-1], token + "\n", " " + token, strings.Repeat("pp_", 1000),
	} {
		if trust.ValidToken(bad) {
			t.Errorf("%.60q passes as a token", bad)
		}
	}
}

func TestSameHash(t *testing.T) {
	a, b := trust.HashToken("a"), trust.HashToken("b")
	if !trust.SameHash(a, a) || trust.SameHash(a, b) || trust.SameHash(a, a[:10]) || trust.SameHash("", a) {
		t.Error("hashes compare wrong")
	}
}
