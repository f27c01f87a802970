// Package server puts the collector together and runs it: embedded broker, door,
// assessment, evidence and HTTP in one process over one data directory.
//
// Invariants:
//   - One process holds a data directory at a time.
//   - Beyond loopback it speaks TLS only, and lets in only hosts with claims.
//   - It starts whole or not at all, and ends in the reverse order: the road stops
//     first, the store closes last, so that what was decided is acknowledged.
//   - Secrets lie in files that only their owner can read.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/patchproof/patchproof/collector/assess"
	"github.com/patchproof/patchproof/collector/broker"
	"github.com/patchproof/patchproof/collector/estate"
	"github.com/patchproof/patchproof/collector/evidence"
	"github.com/patchproof/patchproof/collector/feed"
	"github.com/patchproof/patchproof/collector/ingest"
	"github.com/patchproof/patchproof/collector/ingest/natsin"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/collector/store/sqlstore"
	"github.com/patchproof/patchproof/collector/trust"
)

// Options say where a collector keeps its data and where it listens.
type Options struct {
	// Version of the program, for people and metrics.
	Version string
	// DataDir holds everything the collector keeps; it is made on first use.
	DataDir string
	// Listen is the loopback HOST:PORT of the API, NATSListen that of the broker;
	// port 0 takes a free one. Empty means DefaultListen and DefaultNATSListen.
	Listen     string
	NATSListen string
	// TLS is what the broker shows to hosts; nil is no TLS, and loopback only. Its
	// directory is in the data directory unless files are given.
	TLS *trust.TLSOptions
	// Cluster is a broker that others run; nil embeds one.
	Cluster *ClusterOptions
	// OperatorDir holds the identity keys of the broker's operator and accounts when
	// its authority is made, on first start; empty is a directory beside it.
	OperatorDir string
	// MaxStream bounds the reports that wait on disk, in bytes; 0 is
	// natsin.DefaultMaxStore.
	MaxStream int64
	// Quarantine caps what refused senders can make the collector hold; zero
	// fields take ingest.DefaultLimits.
	Quarantine store.QuarantineLimits
	// Now is the clock, time.Now when nil.
	Now func() time.Time
	Log *slog.Logger
	// Ready is called once everything serves. May be nil.
	Ready func(Endpoints)
}

// Where a collector listens unless it is told otherwise.
const (
	DefaultListen     = "127.0.0.1:8420"
	DefaultNATSListen = "127.0.0.1:4222"
)

// collector is a server's parts, in the order they are made.
type collector struct {
	o        Options
	log      *slog.Logger
	data     *dataDir
	keys     *trust.Keys
	store    *sqlstore.Store
	evidence *integrator
	assessor *assess.Assessor
	door     *ingest.Door
	claims   *broker.Authority
	tls      *trust.TLS // nil without TLS
	broker   carrier
	conn     *nats.Conn
	road     *natsin.Road
	importer *feed.Importer
	estate   *estate.Service
	metrics  *metrics
	listener net.Listener
}

// Run runs a collector until ctx is done, and returns after everything of it has
// ended. It returns an error when it cannot start or when a part of it fails.
func Run(ctx context.Context, o Options) error {
	if err := o.complete(); err != nil {
		return fmt.Errorf("run collector: %w", err)
	}
	c := &collector{o: o, log: o.Log.With("component", "server")}
	err := c.open(ctx)
	if err == nil {
		err = c.serve(ctx)
	}
	if cerr := c.close(); cerr != nil {
		err = errors.Join(err, cerr)
	}
	if err != nil {
		return fmt.Errorf("run collector: %w", err)
	}
	return nil
}

// complete fills in defaults and refuses addresses others can reach.
func (o *Options) complete() error {
	if o.DataDir == "" {
		return errors.New("no data directory named")
	}
	if o.Listen == "" {
		o.Listen = DefaultListen
	}
	if o.NATSListen == "" {
		o.NATSListen = DefaultNATSListen
	}
	if o.Now == nil {
		o.Now = time.Now //nolint:forbidigo // the program's one clock starts here
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := natsin.CheckLoopback(o.Listen); err != nil {
		return fmt.Errorf("API: %w", err)
	}
	if o.Cluster != nil && o.TLS == nil {
		return errors.New("broker: one that others run needs TLS")
	}
	if o.TLS == nil {
		if err := natsin.CheckLoopback(o.NATSListen); err != nil {
			return fmt.Errorf("broker: %w", err)
		}
	}
	return nil
}

// open makes the parts. What it made before an error, close takes down.
func (c *collector) open(ctx context.Context) error {
	var err error
	if c.data, err = openDataDir(c.o.DataDir); err != nil {
		return err
	}
	if c.keys, err = trust.OpenKeys(c.data.path(keysDir)); err != nil {
		return err
	}
	if c.store, err = sqlstore.Open(ctx, c.data.path(databaseFile)); err != nil {
		return err
	}
	if err := c.openEvidence(ctx); err != nil {
		return err
	}
	if err := c.firstPolicy(ctx); err != nil {
		return err
	}
	if err := c.firstToken(ctx); err != nil {
		return err
	}
	c.metrics = newMetrics(c)
	c.assessor = assess.New(c.store, c.o.Now, c.o.Log)
	c.estate = &estate.Service{Store: c.store, Now: c.o.Now, Log: c.o.Log.With("component", "estate")}
	c.assessor.Classify = c.estate.Refresh
	c.importer = &feed.Importer{Store: c.store, Now: c.o.Now, Log: c.o.Log.With("component", "feed")}
	c.door = c.newDoor()
	if err := c.openRoad(ctx); err != nil {
		return err
	}
	c.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", c.o.Listen)
	if err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	return nil
}

func (c *collector) openEvidence(ctx context.Context) error {
	log, err := evidence.OpenLog(ctx, evidence.Options{
		Store: c.store, Signer: c.keys.Log, Verifier: c.keys.LogVerifier, HeadFile: c.data.path(headFile), Now: c.o.Now,
	})
	if err != nil {
		return err
	}
	c.evidence = &integrator{log: log, store: c.store, logger: c.o.Log.With("component", "evidence")}
	return nil
}

func (c *collector) newDoor() *ingest.Door {
	return ingest.NewDoor(ingest.Options{
		Store: c.store, ReceiptKey: c.keys.Receipt,
		LogOrigin: c.evidence.log.Origin(), LogEpoch: c.evidence.log.Epoch(),
		Now: c.o.Now, Log: c.o.Log, Limits: c.o.Quarantine,
		Accepted: c.assessor.Wake,
		Publish:  c.publish,
		Count:    c.metrics.decided,
	})
}

// publish sends a receipt by the road its report came on.
func (c *collector) publish(road, transportKey string, receipt []byte) error {
	if road != natsin.Name {
		return fmt.Errorf("no way to answer on road %q", road)
	}
	return c.road.PublishReceipt(transportKey, receipt)
}

// serve runs the parts until ctx is done or one fails.
func (c *collector) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	if n, err := c.door.ReplayTrusted(ctx); err != nil {
		return err
	} else if n != (ingest.Replayed{}) {
		c.log.Info("waiting reports replayed", "accepted", n.Accepted, "rejected", n.Rejected)
	}
	g.Go(func() error { return c.broker.Run(ctx) })
	g.Go(func() error { return c.road.Run(ctx) })
	g.Go(func() error { return c.assessor.Run(ctx) })
	g.Go(func() error { return c.evidence.Run(ctx) })
	g.Go(func() error { return serveHTTP(ctx, c.listener, c.handler(), c.o.Log) })
	ends := Endpoints{HTTP: "http://" + c.listener.Addr().String(), NATS: c.broker.URL()}
	if err := c.data.writeEndpoints(ends); err != nil {
		return errors.Join(err, abandon(g))
	}
	c.log.Info("collector ready", "http", ends.HTTP, "nats", ends.NATS, "data", c.o.DataDir, "version", c.o.Version)
	if c.o.Ready != nil {
		c.o.Ready(ends)
	}
	return g.Wait()
}

// errAbandoned ends the parts of a collector that could not finish its start.
var errAbandoned = errors.New("start abandoned")

func abandon(g *errgroup.Group) error {
	g.Go(func() error { return errAbandoned })
	if err := g.Wait(); !errors.Is(err, errAbandoned) {
		return err
	}
	return nil
}

// close takes down what open made, last things first.
func (c *collector) close() error {
	var errs []error
	if c.listener != nil {
		if err := c.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if c.conn != nil {
		c.conn.Close()
	}
	if c.broker != nil {
		c.broker.Close()
	}
	if c.store != nil {
		errs = append(errs, c.store.Close())
	}
	if c.data != nil {
		errs = append(errs, c.data.close())
	}
	return errors.Join(errs...)
}
