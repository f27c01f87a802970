package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/patchproof/patchproof/collector/broker"
	"github.com/patchproof/patchproof/collector/ingest/natsin"
	"github.com/patchproof/patchproof/collector/trust"
)

// carrier is the broker: embedded, or a cluster that others run.
type carrier interface {
	// Connect returns the collector's own connection.
	Connect(opts ...nats.Option) (*nats.Conn, error)
	Run(ctx context.Context) error
	Check() error
	URL() string
	Close()
}

var (
	_ carrier = (*natsin.Broker)(nil)
	_ carrier = (*natsin.Cluster)(nil)
)

// ClusterOptions say how a broker that others run is reached.
type ClusterOptions struct {
	// URLs are its nodes' (tls://HOST:PORT).
	URLs []string
	// CA is a PEM file of the authority of its certificates; empty is the collector's
	// own.
	CA string
	// Replicas is on how many nodes each waiting report lies; 0 is one.
	Replicas int
}

// openRoad opens the broker and the road that leads from it to the door.
func (c *collector) openRoad(ctx context.Context) error {
	if err := c.openTLS(); err != nil {
		return err
	}
	var err error
	if c.claims, err = broker.Open(c.data.path(claimsDir), c.o.OperatorDir, c.o.Now); err != nil {
		return err
	}
	replicas := 1
	if c.o.Cluster == nil {
		err = c.embed(ctx)
	} else {
		replicas, err = cmp.Or(c.o.Cluster.Replicas, 1), c.join(ctx)
	}
	if err != nil {
		return err
	}
	if c.conn, err = c.broker.Connect(); err != nil {
		return err
	}
	c.road, err = natsin.Open(ctx, c.conn, c.door, natsin.StreamOptions{MaxBytes: c.o.MaxStream, Replicas: replicas}, c.o.Log)
	return err
}

func (c *collector) embed(ctx context.Context) error {
	o := natsin.BrokerOptions{
		Dir: c.data.path(brokerDir), Listen: c.o.NATSListen, MaxStore: c.o.MaxStream, Log: c.o.Log,
		Authority: c.claims, Guests: c.tls == nil, Denied: c.metrics.denied,
	}
	if c.tls != nil {
		o.TLS = c.tls.Config()
	}
	b, err := natsin.StartBroker(ctx, o)
	if err != nil {
		return err
	}
	c.broker = b
	c.claims.OnPush(b.UpdateAccount)
	return nil
}

func (c *collector) join(ctx context.Context) error {
	believed, err := c.believed()
	if err != nil {
		return err
	}
	joined, err := natsin.Join(ctx, natsin.ClusterOptions{URLs: c.o.Cluster.URLs, TLS: believed, Authority: c.claims, Log: c.o.Log})
	if err != nil {
		return err
	}
	c.broker = joined
	return nil
}

// believed is whom the collector believes when it connects to a broker.
func (c *collector) believed() (*tls.Config, error) {
	if c.o.Cluster.CA == "" {
		return c.tls.Trusting(), nil
	}
	text, err := os.ReadFile(c.o.Cluster.CA)
	if err != nil {
		return nil, fmt.Errorf("read the broker's authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read the broker's authority: %s holds no certificate", c.o.Cluster.CA)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool}, nil
}

func (c *collector) openTLS() error {
	if c.o.TLS == nil {
		return nil
	}
	o := *c.o.TLS
	o.Dir, o.Now = c.data.path(tlsDir), c.o.Now
	var err error
	if c.tls, err = trust.OpenTLS(o); err != nil {
		return err
	}
	until, authority := c.tls.Expires()
	c.log.Info("certificate ready", "ca_sha256", c.tls.Pin(), "until", until, "authority_until", authority)
	return nil
}

// nodeLife is how long a certificate of a node holds that others run: it cannot be
// renewed for them.
const nodeLife = 397 * 24 * time.Hour

// InitBroker makes the authority of a collector that has not run yet, with its
// identity keys in a directory that can be taken away.
func InitBroker(dataDir, operatorDir string) error {
	if err := trust.OpenDir(dataDir); err != nil {
		return fmt.Errorf("open data directory: %w", err)
	}
	return broker.Init(filepath.Join(dataDir, claimsDir), operatorDir)
}

// ExportOptions say for which servers a configuration is written.
type ExportOptions struct {
	DataDir, OperatorDir string
	// Out gets a directory for each node. It must not be there.
	Out   string
	Nodes []broker.Node
	// TLS is the collector's own; only Cert, Key and CA matter.
	TLS trust.TLSOptions
	// MaxStream bounds the reports that wait on a node, in bytes; 0 is
	// natsin.DefaultMaxStore.
	MaxStream int64
	Now       func() time.Time
}

// ExportBroker writes what servers that others run need to be this collector's
// broker. The collector need not run.
func ExportBroker(o ExportOptions) error {
	if err := trust.OpenDir(o.DataDir); err != nil {
		return fmt.Errorf("open data directory: %w", err)
	}
	authority, err := broker.Open(filepath.Join(o.DataDir, claimsDir), o.OperatorDir, o.Now)
	if err != nil {
		return err
	}
	o.TLS.Dir, o.TLS.Now = filepath.Join(o.DataDir, tlsDir), o.Now
	own, err := trust.OpenTLS(o.TLS)
	if err != nil {
		return err
	}
	e := broker.Export{Dir: o.Out, Nodes: o.Nodes, CA: own.CA(), MaxStore: cmp.Or(o.MaxStream, natsin.DefaultMaxStore)}
	if !own.Given() {
		e.Certificate = func(host string) ([]byte, []byte, error) { return own.Issue([]string{host}, nodeLife) }
	}
	return authority.Export(e)
}
