package natstest

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/patchproof/patchproof/schema"
)

// Realm is a broker that believes an operator, with one account of hosts.
type Realm struct {
	t        testing.TB
	Server   *server.Server
	operator nkeys.KeyPair
	account  nkeys.KeyPair
	claims   *jwt.AccountClaims
	resolver *server.MemAccResolver
}

// RunOperator starts such a broker, with TLS when it is given a configuration.
func RunOperator(t testing.TB, secure *tls.Config) *Realm {
	t.Helper()
	r := &Realm{t: t, operator: pair(t, nkeys.PrefixByteOperator), account: pair(t, nkeys.PrefixByteAccount), resolver: new(server.MemAccResolver)}
	system := pair(t, nkeys.PrefixByteAccount)
	operator := jwt.NewOperatorClaims(public(t, r.operator))
	operator.SystemAccount = public(t, system)
	r.store(jwt.NewAccountClaims(public(t, system)))
	r.claims = jwt.NewAccountClaims(public(t, r.account))
	r.claims.Limits.DiskStorage, r.claims.Limits.Streams, r.claims.Limits.Consumer = jwt.NoLimit, jwt.NoLimit, jwt.NoLimit
	r.store(r.claims)
	opts := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		TrustedOperators: []*jwt.OperatorClaims{operator}, SystemAccount: public(t, system), AccountResolver: r.resolver,
	}
	if secure != nil {
		opts.TLS, opts.TLSConfig, opts.TLSHandshakeFirst = true, secure, true
	}
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { Stop(s) })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("broker did not come up within 10 s")
	}
	r.Server = s
	return r
}

func (r *Realm) store(c *jwt.AccountClaims) {
	r.t.Helper()
	text := sign(r.t, c, r.operator)
	if err := r.resolver.Store(c.Subject, text); err != nil {
		r.t.Fatal(err)
	}
}

// Issue signs claims of a host that may do what the change leaves it.
func (r *Realm) Issue(user string, ttl time.Duration, change func(*jwt.UserClaims)) string {
	r.t.Helper()
	c := jwt.NewUserClaims(user)
	may := host(user)
	c.Pub.Allow.Add(may.Publish.Allow...)
	c.Sub.Allow.Add(may.Subscribe.Allow...)
	c.Expires = time.Now().Add(ttl).Unix() //nolint:forbidigo // the broker's clock is the system's
	if change != nil {
		change(c)
	}
	return sign(r.t, c, r.account)
}

// Revoke makes the user's claims void and cuts it off.
func (r *Realm) Revoke(user string) {
	r.t.Helper()
	r.claims.Revoke(user)
	r.store(r.claims)
	account, err := r.Server.LookupAccount(r.claims.Subject)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Server.UpdateAccountClaims(account, r.claims)
}

// Collector joins as somebody who may do everything, and makes the stream.
func (r *Realm) Collector() *nats.Conn {
	r.t.Helper()
	key := pair(r.t, nkeys.PrefixByteUser)
	claims := sign(r.t, jwt.NewUserClaims(public(r.t, key)), r.account)
	conn, err := nats.Connect("", nats.InProcessServer(r.Server), nats.UserJWT(func() (string, error) { return claims, nil }, key.Sign))
	if err != nil {
		r.t.Fatalf("connect: %v", err)
	}
	r.t.Cleanup(conn.Close)
	js, err := conn.JetStream()
	if err != nil {
		r.t.Fatal(err)
	}
	_, err = js.AddStream(&nats.StreamConfig{Name: schema.StreamReports, Subjects: []string{schema.SubjectReportsAll}, Retention: nats.WorkQueuePolicy})
	if err != nil {
		r.t.Fatalf("make stream: %v", err)
	}
	return conn
}

func pair(t testing.TB, kind nkeys.PrefixByte) nkeys.KeyPair {
	t.Helper()
	k, err := nkeys.CreatePair(kind)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func public(t testing.TB, k nkeys.KeyPair) string {
	t.Helper()
	s, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sign(t testing.TB, c jwt.Claims, by nkeys.KeyPair) string {
	t.Helper()
	text, err := c.Encode(by)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
