package publish

import (
	"context"
	"errors"
	"fmt"
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
	// failed is why the last connection could not be made.
	failed error
}

// Dial makes a connection, with TLS when an authority is pinned.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(d.ctx, dialTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil && d.authority != nil {
		conn, err = d.authority.Client(ctx, conn, address)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn, d.failed = conn, err
	if err != nil {
		d.conn = nil
		return nil, err
	}
	return conn, nil
}

// why adds to what the client says, which may be no more than that there is no
// server, what the dialer knows.
func (d *dialer) why(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil || d.failed == nil || errors.Is(err, d.failed) {
		return err
	}
	return fmt.Errorf("%w: %w", err, d.failed)
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
