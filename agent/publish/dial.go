package publish

import (
	"context"
	"net"
	"sync"

	"github.com/patchproof/patchproof/agent/pin"
)

// dialer makes connections that the end of ctx interrupts, while they are made
// and while the server has not yet said a word.
type dialer struct {
	ctx       context.Context //nolint:containedctx // it lives as long as one call of dial
	authority *pin.Authority
	mu        sync.Mutex
	conn      net.Conn
}

// Dial makes a connection, with TLS when an authority is pinned.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(d.ctx, dialTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil && d.authority != nil {
		conn, err = d.authority.Client(ctx, conn, address)
	}
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn = conn
	return conn, nil
}

// SkipTLSHandshake tells the client that Dial has made it.
func (d *dialer) SkipTLSHandshake() bool { return d.authority != nil }

func (d *dialer) interrupt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		_ = d.conn.Close() // its reader gets the error
	}
}
