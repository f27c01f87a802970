package broker

import (
	"fmt"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/patchproof/patchproof/schema"
)

// pair is the two keys of the operator or of an account.
type pair struct {
	identity, signing nkeys.KeyPair
}

// id is the public identity key, by is the public signing key.
func (p pair) id() string { return public(p.identity) }
func (p pair) by() string { return public(p.signing) }

// public is for pairs made or read by this package, which have a public key.
func public(k nkeys.KeyPair) string {
	s, err := k.PublicKey()
	if err != nil {
		panic(fmt.Sprintf("broker: key pair without a public key: %v", err))
	}
	return s
}

// subjectOf stands for the user's own public key in a scoped template.
const subjectOf = "{{subject()}}"

// hostSubs is how many subscriptions a host may hold: receipts, replies, and
// room for one more of each while it reconnects.
const hostSubs = 8

// operatorClaims says which keys may sign accounts. The identity key may not.
func operatorClaims(op, system pair) (string, error) {
	c := jwt.NewOperatorClaims(op.id())
	c.Name = "patchproof"
	c.SystemAccount = system.id()
	c.SigningKeys.Add(op.by())
	c.StrictSigningKeyUsage = true
	return c.Encode(op.identity)
}

// accountClaims writes the claims of an account, signed by the operator's
// signing key. Revocations are for the account of hosts.
func accountClaims(n Account, op pair, keys map[Account]pair, revoked jwt.RevocationList) (string, error) {
	c := jwt.NewAccountClaims(keys[n].id())
	c.Name = string(n)
	c.Limits.LeafNodeConn = 0
	c.Limits.Exports, c.Limits.WildcardExports = 0, false
	c.Limits.Imports = 0
	c.Limits.Payload = MaxMessage
	c.Limits.DisallowBearer = true
	c.Revocations = revoked
	// Who is signed by another key than the scoped one may do nothing.
	c.DefaultPermissions.Pub.Deny.Add(">")
	c.DefaultPermissions.Sub.Deny.Add(">")
	scope := jwt.NewUserScope()
	scope.Key, scope.Role = keys[n].by(), string(n)
	scope.Template.AllowedConnectionTypes.Add(jwt.ConnectionTypeStandard, jwt.ConnectionTypeInProcess)
	var err error
	switch n {
	case System:
		systemAccount(c, scope)
	case Collector:
		collectorAccount(c, scope)
	case Hosts:
		scope.Template.Subs = hostSubs
		err = visitors(c, scope, subjectOf, keys[Collector])
	case Guests:
		c.Limits.DisallowBearer, scope.Template.BearerToken = false, true
		err = visitors(c, scope, "*", keys[Collector])
	}
	if err != nil {
		return "", err
	}
	c.SigningKeys.AddScopedSigner(scope)
	if err := sound(c); err != nil {
		return "", err
	}
	return c.Encode(op.signing)
}

func sound(c *jwt.AccountClaims) error {
	vr := jwt.CreateValidationResults()
	c.Validate(vr)
	for _, issue := range vr.Issues {
		if issue.Blocking {
			return fmt.Errorf("account %s: %s", c.Name, issue.Description)
		}
	}
	return nil
}

// systemAccount lets the collector push account claims and hear of denials, and
// nothing else a system account could do.
func systemAccount(c *jwt.AccountClaims, scope *jwt.UserScope) {
	c.Limits.Payload = jwt.NoLimit // servers talk to each other here
	c.Limits.Exports, c.Limits.WildcardExports = jwt.NoLimit, true
	scope.Template.Pub.Allow.Add("$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.UPDATE")
	scope.Template.Sub.Allow.Add("_INBOX.>", "$SYS.SERVER.*.CLIENT.AUTH.ERR")
}

// Subjects of claims.
var (
	reports  = jwt.Subject(schema.SubjectReportsAll)
	receipts = jwt.Subject(schema.ReceiptSubject("*"))
)

// collectorAccount holds the stream. What it shares needs an activation, which
// only the accounts made here have.
func collectorAccount(c *jwt.AccountClaims, scope *jwt.UserScope) {
	c.Limits.DiskStorage, c.Limits.Streams, c.Limits.Consumer = jwt.NoLimit, jwt.NoLimit, jwt.NoLimit
	c.Limits.Exports, c.Limits.WildcardExports = 2, true
	c.Exports.Add(
		&jwt.Export{Name: "reports", Subject: reports, Type: jwt.Service, TokenReq: true},
		&jwt.Export{Name: "receipts", Subject: receipts, Type: jwt.Stream, TokenReq: true},
	)
	scope.Template.Pub.Allow.Add(">")
	scope.Template.Sub.Allow.Add(">")
}

// visitors see of the collector's account a place to publish reports and one to
// read receipts; each user only the own ones. A reply subject a user names is
// resolved here, so it cannot make the broker write to JetStream in its stead.
func visitors(c *jwt.AccountClaims, scope *jwt.UserScope, who string, collector pair) error {
	c.Limits.Imports = 2
	for _, share := range []struct {
		name    string
		subject jwt.Subject
		kind    jwt.ExportType
	}{{"reports", reports, jwt.Service}, {"receipts", receipts, jwt.Stream}} {
		act := jwt.NewActivationClaims(c.Subject)
		act.Name, act.ImportSubject, act.ImportType = share.name, share.subject, share.kind
		token, err := act.Encode(collector.identity)
		if err != nil {
			return fmt.Errorf("activate %s: %w", share.name, err)
		}
		c.Imports.Add(&jwt.Import{Name: share.name, Subject: share.subject, Account: collector.id(), Type: share.kind, Token: token})
	}
	inbox := "_INBOX.>"
	if who == subjectOf {
		inbox = "_INBOX." + subjectOf + ".>"
	}
	scope.Template.Pub.Allow.Add(schema.ReportSubject(who))
	scope.Template.Sub.Allow.Add(schema.ReceiptSubject(who), inbox)
	scope.Template.Payload = MaxMessage
	return nil
}
