package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// instance sets up the metadata service of an instance.
func instance(t *testing.T, id string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/latest/api/token":
			_, _ = w.Write([]byte("token"))
		case "/latest/dynamic/instance-identity/document":
			_, _ = fmt.Fprintf(w, `{"instanceId":%q,"accountId":"123456789012","region":"eu-west-1"}`, id)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// becomes puts an agent onto an instance.
func (a *hostAgent) becomes(id string) {
	a.t.Helper()
	text, err := os.ReadFile(a.config)
	if err != nil {
		a.t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(text), "imds:")
	text = fmt.Appendf(nil, "%simds: {endpoint: %q}\n", before, instance(a.t, id))
	if err := os.WriteFile(a.config, text, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// copyOf is an agent on a copy of another's disk.
func copyOf(t *testing.T, c *collector, a *hostAgent) *hostAgent {
	t.Helper()
	b := newAgent(t, c)
	if err := os.CopyFS(filepath.Join(b.dir, "state"), os.DirFS(filepath.Join(a.dir, "state"))); err != nil {
		t.Fatal(err)
	}
	// CopyFS adds the bits that a umask leaves; keys must be ours alone.
	for _, path := range []string{"", "evidence.key", "transport.key", "machine.json"} {
		mode := os.FileMode(0o600)
		if path == "" {
			mode = 0o700
		}
		if err := os.Chmod(filepath.Join(b.dir, "state", path), mode); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

type lineList struct {
	Suspect bool     `json:"suspect"`
	Why     []string `json:"why"`
	Lines   []struct {
		Head    string `json:"head"`
		Machine string `json:"machine"`
	} `json:"lines"`
}

// TestClonedImage starts an image of a working host elsewhere. As it is, the copy
// becomes a host of its own; with its binding defeated it speaks with the first
// host's key, and is caught at its first report.
func TestClonedImage(t *testing.T) {
	c := newCollector(t)
	a := newAgent(t, c)
	a.becomes("i-0123456789abcdef0")
	a.ask("collect", "--once").exits(t, 0)
	c.ask("feed", "status").exits(t, 0)
	a.ask("once", "--timeout", "2s").exits(t, 1) // its key waits
	c.ask("host", "trust", a.status().Fingerprint, "--name", "web-1").exits(t, 0)
	a.ask("once").exits(t, 0)

	honest := copyOf(t, c, a)
	honest.becomes("i-0fedcba9876543210")
	honest.ask("once", "--timeout", "2s").exits(t, 1).says(t, "another machine's keys archived")
	if honest.status().Fingerprint == a.status().Fingerprint {
		t.Error("the copy speaks with the first host's key")
	}

	clone := copyOf(t, c, a)
	clone.becomes("i-0fedcba9876543210")
	binding := filepath.Join(clone.dir, "state", "machine.json")
	text, err := os.ReadFile(binding)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.ReplaceAll(string(text), "i-0123456789abcdef0", "i-0fedcba9876543210"))
	if err := os.WriteFile(binding, text, 0o600); err != nil {
		t.Fatal(err)
	}
	clone.ask("once").exits(t, 0) // its report is kept like any other
	eventually(t, 10*time.Second, "the clone is suspected", func() bool {
		return read[lineList](t, c.ask("host", "lines", "web-1", "-o", "json")).Suspect &&
			strings.Contains(c.ask("host", "list").stdout, "CLONE?")
	})
	c.ask("host", "list").exits(t, 0).says(t, "CLONE?", "patchproof host lines")
	c.ask("asset", "show", "web-1").exits(t, 0).says(t, "CLONE?", "clone_suspect", "one key on two machines")
	c.ask("gap", "list").exits(t, 0).says(t, "clone_suspect")
	c.ask("coverage").exits(t, 0).says(t, "clone_suspect", "1 whose key may be in use twice")

	// The host itself goes on being heard.
	a.ask("once").exits(t, 0)
	c.ask("host", "lines", "web-1").exits(t, 0).says(t, "i-0123456789abcdef0", "i-0fedcba9876543210", "sequence 4 was used for two reports", "host clear-clone web-1")
	lines := read[lineList](t, c.ask("host", "lines", "web-1", "-o", "json"))
	hasShape(t, "host-lines", c.ask("host", "lines", "web-1", "-o", "json"))
	if len(lines.Lines) != 2 {
		t.Fatalf("%d lines, want two: %+v", len(lines.Lines), lines)
	}
	keep := lines.Lines[0].Head
	if strings.Contains(lines.Lines[1].Machine, "i-0123456789abcdef0") {
		keep = lines.Lines[1].Head
	}
	c.ask("host", "clear-clone", "web-1", "--keep", keep).exits(t, 2).says(t, "say why")
	c.ask("host", "clear-clone", "web-1", "--keep", "00000000", "--reason", "x").exits(t, 1).says(t, "0 reports of the host begin so")
	hasShape(t, "host-clear-clone", c.ask("host", "clear-clone", "web-1", "--keep", keep[:12], "--reason", "the copy was a test", "-o", "json"))
	eventually(t, 10*time.Second, "the suspicion is gone", func() bool {
		return !strings.Contains(c.ask("host", "list").stdout, "CLONE?")
	})
	a.ask("once").exits(t, 0)
	c.ask("host", "lines", "web-1").exits(t, 0).says(t, "nothing says that two hosts", "the copy was a test")
	c.ask("host", "clear-clone", "web-1", "--keep", keep, "--reason", "x").exits(t, 1).says(t, "nothing says that two hosts")

	// The clone speaks again, and is caught again.
	clone.ask("once").exits(t, 0)
	eventually(t, 10*time.Second, "the clone is suspected again", func() bool {
		return strings.Contains(c.ask("host", "list").stdout, "CLONE?")
	})
	c.ask("evidence", "verify").exits(t, 0).says(t, "fork")
}
