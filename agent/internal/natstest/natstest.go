// Package natstest runs a real broker in process for tests, with the stream the
// collector makes.
package natstest

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/patchproof/patchproof/schema"
)

// Options change the broker from a plain one on a free port.
type Options struct {
	// Dir holds its streams; empty means a directory of the test's own.
	Dir string
	// Port is 0 for a free one.
	Port int
	// User is the only NATS user key let in; empty lets everybody in.
	User       string
	MaxPayload int32
}

// Run starts a broker. It is shut down when the test ends.
func Run(t testing.TB, o Options) *server.Server {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	opts := &server.Options{
		Host: "127.0.0.1", Port: o.Port, JetStream: true, StoreDir: o.Dir,
		NoSigs: true, NoLog: true, MaxPayload: o.MaxPayload,
	}
	if o.User != "" {
		opts.Nkeys = []*server.NkeyUser{{Nkey: o.User, Permissions: host(o.User)}}
		opts.Users = []*server.User{{Username: Collector, Password: Collector}}
	}
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatalf("make broker: %v", err)
	}
	s.Start()
	t.Cleanup(func() { Stop(s) })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("broker did not come up within 10 s")
	}
	return s
}

// Collector is the user name and the password of the collector on a broker that
// knows its users.
const Collector = "collector"

// host is what the collector's broker lets a host do.
func host(user string) *server.Permissions {
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{schema.ReportSubject(user)}},
		Subscribe: &server.SubjectPermission{Allow: []string{schema.ReceiptSubject(user), "_INBOX." + user + ".>"}},
	}
}

// Stop shuts a broker down and waits for its end.
func Stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// Connect joins a broker as the collector does and makes the stream.
func Connect(t testing.TB, s *server.Server, perSubject int64, options ...nats.Option) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(s.ClientURL(), append(options, nats.UserInfo(Collector, Collector), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))...)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(conn.Close)
	js, err := conn.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.AddStream(&nats.StreamConfig{
		Name: schema.StreamReports, Subjects: []string{schema.SubjectReportsAll}, Retention: nats.WorkQueuePolicy,
		Discard: nats.DiscardNew, DiscardNewPerSubject: perSubject > 0, MaxMsgsPerSubject: max(perSubject, 0), Duplicates: time.Second,
	})
	if err != nil {
		t.Fatalf("make stream: %v", err)
	}
	return conn
}
