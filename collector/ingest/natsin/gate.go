package natsin

import (
	"crypto/subtle"
	"encoding/base64"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/patchproof/patchproof/schema"
)

// collectorUser is the user name of the collector's own connections.
const collectorUser = "collector"

// gate decides what a connection may do. The collector's own connection shows a
// secret made at start. A connection that signs the nonce with a transport key
// speaks for that key alone. Any other is somebody on this machine: it may
// publish reports and read receipts, which are signed, and nothing else.
type gate struct {
	secret           string
	collector, hosts *server.Account
}

// resolve looks up the accounts users are put into. It comes before Start.
func (g *gate) resolve(s *server.Server) error {
	for name, account := range map[string]**server.Account{"COLLECTOR": &g.collector, "HOSTS": &g.hosts} {
		a, err := s.LookupAccount(name)
		if err != nil {
			return fmt.Errorf("account %s: %w", name, err)
		}
		*account = a
	}
	return nil
}

// Check implements server.Authentication.
func (g *gate) Check(c server.ClientAuthentication) bool {
	o := c.GetOpts()
	switch {
	case o.Username != "" || o.Password != "":
		if o.Username != collectorUser || subtle.ConstantTimeCompare([]byte(o.Password), []byte(g.secret)) != 1 {
			return false
		}
		c.RegisterUser(&server.User{Username: collectorUser, Account: g.collector})
		return true
	case o.Nkey != "":
		if !signed(o.Nkey, o.Sig, c.GetNonce()) {
			return false
		}
		c.RegisterUser(g.host(o.Nkey))
		return true
	case o.JWT != "" || o.Token != "":
		return false
	}
	c.RegisterUser(g.host("*"))
	return true
}

// host is a user that may publish reports of a transport key and read its
// receipts; "*" is every key.
func (g *gate) host(key string) *server.User {
	// The broker's acknowledgements of publishes come to an inbox.
	name, inbox := key, "_INBOX."+key+".>"
	if key == "*" {
		name, inbox = "anonymous", "_INBOX.>"
	}
	return &server.User{
		Username: name,
		Account:  g.hosts,
		Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: []string{schema.ReportSubject(key)}},
			Subscribe: &server.SubjectPermission{Allow: []string{schema.ReceiptSubject(key), inbox}},
		},
	}
}

// signed reports whether sig is the transport key's signature of the nonce.
func signed(key, sig string, nonce []byte) bool {
	if schema.CheckTransportKey(key) != nil || len(nonce) == 0 {
		return false
	}
	raw, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil {
		return false
	}
	pub, err := nkeys.FromPublicKey(key)
	if err != nil {
		return false
	}
	return pub.Verify(nonce, raw) == nil
}
