package natsin_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/patchproof/patchproof/collector/ingest/natsin"
	"github.com/patchproof/patchproof/collector/internal/natstest"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/envelope"
)

// denials is what a broker told of what it refused.
type denials struct {
	mu   sync.Mutex
	list []natsin.Denial
}

func (d *denials) add(one natsin.Denial) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, one)
}

// of counts what one host was denied.
func (d *denials) of(h *natstest.Host) map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := map[string]int{}
	for _, one := range d.list {
		if one.TransportKey == h.TransportKey() {
			n[one.Kind]++
		}
	}
	return n
}

// attack is one trick of an enrolled and trusted host against another one.
type attack struct {
	// do returns only what its own client refused.
	do func(*nats.Conn) error
	// event is what must come of it: a kind of denial, a reason in quarantine, or
	// refusedByStream.
	event string
}

// refusedByStream: JetStream answered no, and nothing was kept.
const refusedByStream = "refused"

// twice adds a second signature to an envelope, before or after the first.
func twice(t *testing.T, raw []byte, by *natstest.Host, first bool) []byte {
	t.Helper()
	var w struct {
		PayloadType string `json:"payloadType"`
		Payload     string `json:"payload"`
		Signatures  []struct {
			KeyID string `json:"keyid"`
			Sig   string `json:"sig"`
		} `json:"signatures"`
	}
	if err := json.Unmarshal(raw, &w); err != nil {
		t.Fatal(err)
	}
	payload, err := base64.StdEncoding.DecodeString(w.Payload)
	if err != nil {
		t.Fatal(err)
	}
	pae := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(w.PayloadType), w.PayloadType, len(payload), payload)
	own := w.Signatures[0]
	own.KeyID, own.Sig = schema.KeyID(by.Public()), base64.StdEncoding.EncodeToString(ed25519.Sign(by.Key, pae))
	if first {
		w.Signatures = append(w.Signatures[:0:0], own, w.Signatures[0])
	} else {
		w.Signatures = append(w.Signatures, own)
	}
	out, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// attacks are all the ways we know for one host to speak for another, to hear
// what another is told, or to reach what carries them.
func attacks(t *testing.T, me, victim *natstest.Host) map[string]attack {
	t.Helper()
	captured, capturedID := victim.Seal(t, victim.Report(t, 1))
	naming := me.Report(t, 1)
	naming.TransportKey = victim.TransportKey()
	mineNamingVictim, _ := me.Seal(t, naming)
	borrowed := bytes.Replace(mineNamingVictim, []byte(schema.KeyID(me.Public())), []byte(schema.KeyID(victim.Public())), 1)
	own, theirs := schema.ReportSubject(me.TransportKey()), schema.ReportSubject(victim.TransportKey())
	publish := func(subject string, data []byte) func(*nats.Conn) error {
		return func(nc *nats.Conn) error { return nc.Publish(subject, data) }
	}
	reply := func(to string) func(*nats.Conn) error {
		return func(nc *nats.Conn) error { return nc.PublishRequest(own, to, []byte("ask "+to)) }
	}
	listen := func(subject string) func(*nats.Conn) error {
		return func(nc *nats.Conn) error { _, err := nc.SubscribeSync(subject); return err }
	}
	header := func(name, value string) func(*nats.Conn) error {
		return func(nc *nats.Conn) error {
			m := nats.NewMsg(own)
			m.Header.Set(name, value)
			m.Data = []byte("with " + name + " " + value)
			return nc.PublishMsg(m)
		}
	}
	// stream asks JetStream for something by a header; it must say no.
	stream := func(name, value string) func(*nats.Conn) error {
		return func(nc *nats.Conn) error {
			js, err := jetstream.New(nc)
			if err != nil {
				return err
			}
			m := nats.NewMsg(own)
			m.Header.Set(name, value)
			if ack, err := js.PublishMsg(t.Context(), m); err == nil {
				return fmt.Errorf("taken as %+v", ack)
			} else if _, said := errors.AsType[jetstream.JetStreamError](err); !said {
				return err
			}
			return nil
		}
	}
	victimInbox := "_INBOX." + victim.TransportKey()
	return map[string]attack{
		// Speaking for another.
		"its_subject":             {publish(theirs, captured), natsin.DeniedPublish},
		"its_subject_garbage":     {publish(theirs, []byte("x")), natsin.DeniedPublish},
		"all_subjects":            {publish("patchproof.v1.reports.*", captured), natsin.DeniedPublish},
		"subject_below_own":       {publish(own+".x", captured), natsin.DeniedPublish},
		"its_envelope":            {publish(own, captured), schema.ReasonTransportMismatch},
		"own_signature_its_name":  {publish(own, mineNamingVictim), schema.ReasonTransportMismatch},
		"its_key_id":              {publish(own, borrowed), schema.ReasonBadSignature},
		"two_signatures":          {publish(own, twice(t, captured, me, false)), schema.ReasonSignatureCount},
		"two_signatures_mine_1st": {publish(own, twice(t, captured, me, true)), schema.ReasonSignatureCount},
		"guessed_message_id":      {header(jetstream.MsgIDHeader, capturedID), schema.ReasonMalformed},
		// Making the broker speak.
		"reply_its_reports":     {reply(theirs), schema.ReasonMalformed},
		"reply_its_receipts":    {reply(schema.ReceiptSubject(victim.TransportKey())), schema.ReasonMalformed},
		"reply_its_inbox":       {reply(victimInbox + ".x"), schema.ReasonMalformed},
		"reply_jetstream":       {reply("$JS.API.STREAM.DELETE.REPORTS"), schema.ReasonMalformed},
		"reply_ack":             {reply("$JS.ACK.REPORTS.door.1.1.1.1.0"), natsin.DeniedPublish},
		"reply_system":          {reply("$SYS.REQ.SERVER.PING"), schema.ReasonMalformed},
		"trace_to_its_reports":  {header("Nats-Trace-Dest", theirs), natsin.DeniedPublish},
		"trace_to_its_receipts": {header("Nats-Trace-Dest", schema.ReceiptSubject(victim.TransportKey())), natsin.DeniedPublish},
		"roll_up_the_stream":    {stream("Nats-Rollup", "all"), refusedByStream},
		"expect_another_stream": {stream("Nats-Expected-Stream", "OTHER"), refusedByStream},
		"expect_a_sequence":     {stream("Nats-Expected-Last-Sequence", "4000000"), refusedByStream},
		"schedule":              {stream("Nats-Schedule", "@every 1s"), refusedByStream},
		"lifetime":              {stream("Nats-TTL", "1s"), refusedByStream},
		"batch":                 {stream("Nats-Batch-Id", "x"), refusedByStream},
		// Hearing what is another's.
		"hear_its_receipts":    {listen(schema.ReceiptSubject(victim.TransportKey())), natsin.DeniedSubscribe},
		"hear_all_receipts":    {listen("patchproof.v1.receipts.*"), natsin.DeniedSubscribe},
		"hear_its_inbox":       {listen(victimInbox + ".>"), natsin.DeniedSubscribe},
		"hear_all_inboxes":     {listen("_INBOX.>"), natsin.DeniedSubscribe},
		"hear_its_reports":     {listen(theirs), natsin.DeniedSubscribe},
		"hear_all":             {listen(">"), natsin.DeniedSubscribe},
		"hear_top_level":       {listen("*"), natsin.DeniedSubscribe},
		"hear_service_replies": {listen("_R_.>"), natsin.DeniedSubscribe},
		"hear_system":          {listen("$SYS.>"), natsin.DeniedSubscribe},
		"hear_advisories":      {listen("$JS.EVENT.>"), natsin.DeniedSubscribe},
		"hear_receipts_in_queue": {func(nc *nats.Conn) error {
			_, err := nc.QueueSubscribeSync(schema.ReceiptSubject(victim.TransportKey()), "q")
			return err
		}, natsin.DeniedSubscribe},
		// Speaking to another, and to what carries us.
		"forge_a_receipt":   {publish(schema.ReceiptSubject(victim.TransportKey()), []byte("x")), natsin.DeniedPublish},
		"write_its_inbox":   {publish(victimInbox+".x", []byte("x")), natsin.DeniedPublish},
		"delete_the_stream": {publish("$JS.API.STREAM.DELETE.REPORTS", nil), natsin.DeniedPublish},
		"list_streams":      {publish("$JS.API.STREAM.LIST", nil), natsin.DeniedPublish},
		"read_the_stream":   {publish("$JS.API.STREAM.MSG.GET.REPORTS", []byte(`{"seq":1}`)), natsin.DeniedPublish},
		"pull_messages":     {publish("$JS.API.CONSUMER.MSG.NEXT.REPORTS.door", nil), natsin.DeniedPublish},
		"acknowledge":       {publish("$JS.ACK.REPORTS.door.1.1.1.1.0", nil), natsin.DeniedPublish},
		"update_claims":     {publish("$SYS.REQ.CLAIMS.UPDATE", []byte("x")), natsin.DeniedPublish},
		"ping_servers":      {publish("$SYS.REQ.SERVER.PING", nil), natsin.DeniedPublish},
		"many_subscriptions": {func(nc *nats.Conn) error {
			for i := range 20 {
				if _, err := nc.SubscribeSync(fmt.Sprintf("_INBOX.%s.%d", me.TransportKey(), i)); err != nil {
					return err
				}
			}
			return nil
		}, natsin.DeniedLimit},
	}
}

// Whatever one enrolled host tries, nothing is recorded for another, nothing of
// another is heard, each try leaves an event, and the other's own reports pass.
func TestImpersonation(t *testing.T) {
	seen := new(denials)
	r := runWith(t, natstest.Start(t, natsin.BrokerOptions{Dir: t.TempDir(), Denied: seen.add}))
	victim := natstest.NewHost(t, 1)
	r.trust(t, victim)
	heard := listening(t, r, victim)
	n := 100
	for name, a := range attacks(t, natstest.NewHost(t, 2), victim) {
		_ = a
		n++
		t.Run(name, func(t *testing.T) {
			me := natstest.NewHost(t, n)
			r.trust(t, me)
			a := attacks(t, me, victim)[name]
			nc := me.Connect(t, r.broker, quiet)
			before := r.count(t)
			if err := errors.Join(a.do(nc), nc.Flush()); err != nil {
				t.Fatal(err)
			}
			switch a.event {
			case refusedByStream: // and so told to who tried
			case natsin.DeniedPublish, natsin.DeniedSubscribe, natsin.DeniedLimit:
				eventually(t, "a denial", func() bool { return seen.of(me)[a.event] > 0 })
			default:
				eventually(t, a.event+" in quarantine", func() bool { return r.quarantined(t, me)[a.event] > 0 })
			}
			eventually(t, "an empty stream", func() bool { return r.empty(t) })
			if after := r.count(t); after != before {
				t.Errorf("%d reports are on record, %d before", after, before)
			}
			if from := r.quarantined(t, victim); len(from) > 0 {
				t.Errorf("arrived as if from the victim: %v", from)
			}
		})
	}
	for _, m := range heard() {
		if _, err := envelope.OpenReceipt(m.Data, r.pinned); err == nil {
			t.Errorf("the victim was given a receipt on %s", m.Subject)
		}
	}
	if got, err := r.sender(t, victim).Send(limit(t), byID(t, victim, 3)); err != nil || len(got) != 3 {
		t.Errorf("the victim's own reports: %d receipts, %v", len(got), err)
	}
}

// listening hears all that a host can hear while it is attacked.
func listening(t *testing.T, r *road, h *natstest.Host) func() []*nats.Msg {
	t.Helper()
	nc := h.Connect(t, r.broker)
	var subs []*nats.Subscription
	for _, subject := range []string{schema.ReceiptSubject(h.TransportKey()), "_INBOX." + h.TransportKey() + ".>"} {
		s, err := nc.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		subs = append(subs, s)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return func() []*nats.Msg {
		var out []*nats.Msg
		for _, s := range subs {
			for m, err := s.NextMsg(200 * time.Millisecond); err == nil; m, err = s.NextMsg(10 * time.Millisecond) {
				out = append(out, m)
			}
		}
		return out
	}
}

// count is how many reports are on record.
func (r *road) count(t *testing.T) int {
	t.Helper()
	n := 0
	if err := r.store.EachReport(t.Context(), func(store.Report) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// quarantined counts, by reason, what came in on a host's address.
func (r *road) quarantined(t *testing.T, h *natstest.Host) map[string]int {
	t.Helper()
	list, err := r.store.QuarantinedEnvelopes(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, q := range list {
		if strings.HasSuffix(q.Road, "/"+h.TransportKey()) {
			n[q.Reason]++
		}
	}
	return n
}

// What a client calls itself puts no words into the broker's mouth.
func TestDenialsNameWhoWasDenied(t *testing.T) {
	seen := new(denials)
	b := natstest.Start(t, natsin.BrokerOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0", Denied: seen.add})
	me, framed := natstest.NewHost(t, 1), natstest.NewHost(t, 2)
	account := strings.Repeat("A", 56)
	for _, name := range []string{
		"plain", `x" - "` + account + "/hosts/jwt:" + framed.TransportKey() + `" - Subscription Violation`,
		"y\\", "1.2.3.4:5 - cid:1 - ", strings.Repeat("z", 3000), "\x00\xff",
	} {
		nc := me.Connect(t, b, nats.Name(name), quiet)
		before := seen.of(me)[natsin.DeniedPublish]
		if err := errors.Join(nc.Publish(schema.ReportSubject(framed.TransportKey()), []byte("x")), nc.Flush()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the denial of "+name, func() bool { return seen.of(me)[natsin.DeniedPublish] == before+1 })
	}
	if nc, err := nats.Connect(b.URL()); err == nil {
		nc.Close()
		t.Error("let in")
	}
	eventually(t, "the denial of a stranger", func() bool {
		seen.mu.Lock()
		defer seen.mu.Unlock()
		last := seen.list[len(seen.list)-1]
		return last.Kind == natsin.DeniedAuthentication && last.TransportKey == "" && strings.HasPrefix(last.Address, "127.0.0.1:")
	})
	if n := seen.of(framed); len(n) > 0 {
		t.Errorf("the one that was framed: %v", n)
	}
}

// Who can reach the port cannot take all that the process may hold open.
func TestConnectionsAreBounded(t *testing.T) {
	seen := new(denials)
	b := natstest.Start(t, natsin.BrokerOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0", MaxConnections: 8, Denied: seen.add})
	own := natstest.Conn(t, b)
	for range 12 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(b.URL(), "nats://"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
	}
	h := natstest.NewHost(t, 1)
	if nc, err := nats.Connect(b.URL(), h.Claims(t, b)); err == nil {
		nc.Close()
		t.Error("one over the limit is let in")
	}
	eventually(t, "a denial", func() bool {
		seen.mu.Lock()
		defer seen.mu.Unlock()
		return slices.ContainsFunc(seen.list, func(d natsin.Denial) bool { return d.Kind == natsin.DeniedLimit })
	})
	if err := own.FlushTimeout(5 * time.Second); err != nil {
		t.Errorf("the collector's own connection: %v", err)
	}
}
