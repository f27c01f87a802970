package policy_test

import (
	"testing"

	"github.com/patchproof/patchproof/collector/policy"
)

func TestShippedPolicyParses(t *testing.T) {
	_, src := policy.Default()
	_, problems, err := policy.Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Log(p.Severity, p, "|", p.Hint)
	}
}
