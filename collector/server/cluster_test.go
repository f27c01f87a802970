//go:build linux

package server_test

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/patchproof/patchproof/collector/broker"
	"github.com/patchproof/patchproof/collector/internal/natstest"
	"github.com/patchproof/patchproof/collector/server"
	"github.com/patchproof/patchproof/collector/trust"
	"github.com/patchproof/patchproof/schema"
)

// otherPort is one that nobody listens on.
func otherPort(t *testing.T) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// natsServer runs the program itself, in a directory of an exported configuration,
// until the test ends.
func natsServer(t *testing.T, dir string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "nats-server")
	build := exec.Command("go", "build", "-o", program, "github.com/nats-io/nats-server/v2")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build nats-server: %v\n%s", err, out)
	}
	cmd := exec.Command(program, "-c", "nats-server.conf")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

// A collector whose broker others run: keys made before the first start, identity
// keys taken away, configuration exported, and a report receipted over it.
func TestBrokerThatOthersRun(t *testing.T) {
	dir, medium, out := dataDir(t), filepath.Join(t.TempDir(), "medium"), filepath.Join(t.TempDir(), "out")
	if err := server.InitBroker(dir, medium); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(medium); err != nil {
		t.Fatal(err)
	}
	node, err := broker.ParseNode("127.0.0.1:" + strconv.Itoa(otherPort(t)))
	if err != nil {
		t.Fatal(err)
	}
	if err := server.ExportBroker(server.ExportOptions{DataDir: dir, Out: out, Nodes: []broker.Node{node}, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	seeds(t, out)
	natsServer(t, filepath.Join(out, node.Name()))
	eventually(t, "the server to listen", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(node.URL(), "tls://"))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	o := options(dir)
	o.Cluster, o.TLS = &server.ClusterOptions{URLs: []string{node.URL()}}, &trust.TLSOptions{}
	r, h := startWith(t, o), natstest.NewHost(t, 1)
	r.trust(t, schema.KeyID(h.Public()))
	if status, text := r.get(t, "/readyz"); status != http.StatusOK || r.NATS != node.URL() {
		t.Errorf("readyz: %d %q, broker at %s", status, text, r.NATS)
	}
	authority, err := broker.Open(filepath.Join(dir, "keys", "broker"), "", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := authority.Issue(h.TransportKey(), h.Name(), 0)
	if err != nil {
		t.Fatal(err)
	}
	own, err := trust.OpenTLS(trust.TLSOptions{Dir: filepath.Join(dir, "keys", "tls"), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(node.URL(), nats.UserJWT(func() (string, error) { return claims, nil }, h.Transport.Sign), h.Inbox(),
		nats.Secure(own.Trusting()), nats.TLSHandshakeFirst())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	keys, err := trust.OpenKeys(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	pinned, err := schema.ParseKeyID(keys.Pin())
	if err != nil {
		t.Fatal(err)
	}
	s := &natstest.Sender{Conn: nc, Host: h, Pinned: pinned, Retry: 500 * time.Millisecond}
	if got, err := s.Send(limit(t, 20*time.Second), chain(t, h, 2)); err != nil || len(got) != 2 {
		t.Errorf("got %d receipts, %v; want 2", len(got), err)
	}
}

// seeds fails when an exported configuration holds a key but the server's own.
func seeds(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, kind := range []string{"SO", "SA", "SU"} { // seeds of operators, accounts, users
			for word := range strings.FieldsSeq(string(text)) {
				if strings.HasPrefix(word, kind) && len(word) == 58 {
					t.Errorf("%s holds a seed", path)
				}
			}
		}
		if strings.Contains(string(text), "PRIVATE KEY") && d.Name() != "server.key" {
			t.Errorf("%s holds a private key", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
