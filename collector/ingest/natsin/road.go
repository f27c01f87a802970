package natsin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/patchproof/patchproof/collector/ingest"
	"github.com/patchproof/patchproof/schema"
)

// Name is the road's name in deliveries, quarantine and receipts.
const Name = "nats"

const (
	// workers handle messages in parallel; messages of one subject go to one
	// worker, in order.
	workers = 4
	// acceptTimeout bounds one message's way through the door, also while the
	// program is stopping.
	acceptTimeout = 10 * time.Second
	// Retry of a message the door could not decide on: doubled from retryMin to
	// retryMax, with jitter.
	retryMin = 500 * time.Millisecond
	retryMax = time.Minute
)

// Door takes a delivery and answers with a receipt; *ingest.Door implements it.
type Door interface {
	Accept(ctx context.Context, d ingest.Delivery) (receipt []byte, err error)
}

// Road carries messages from a stream to the door.
type Road struct {
	conn     *nats.Conn
	door     Door
	log      *slog.Logger
	stream   jetstream.Stream
	consumer jetstream.Consumer

	seed    maphash.Seed
	lanes   []chan jetstream.Msg
	lost    chan error
	retries atomic.Int64
}

// StreamOptions say how much waits, and on how many nodes.
type StreamOptions struct {
	// MaxBytes bounds the stream; 0 is DefaultMaxStore.
	MaxBytes int64
	// Replicas is on how many nodes each message lies; 0 is one.
	Replicas int
}

// Open prepares the stream and its consumer over the collector's connection.
func Open(ctx context.Context, nc *nats.Conn, door Door, o StreamOptions, log *slog.Logger) (*Road, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open NATS road: %w", err)
	}
	stream, consumer, err := openStream(ctx, js, StreamOptions{
		MaxBytes: cmp.Or(o.MaxBytes, DefaultMaxStore), Replicas: cmp.Or(o.Replicas, 1),
	})
	if err != nil {
		return nil, fmt.Errorf("open NATS road: %w", err)
	}
	return &Road{
		conn: nc, door: door, log: log.With("component", "natsin"),
		stream: stream, consumer: consumer, seed: maphash.MakeSeed(), lost: make(chan error, 1),
	}, nil
}

// Run takes messages until ctx is done. It then finishes those a worker holds,
// gives the others back, and returns after every acknowledgement has reached
// the broker. It returns an error when the consumer is gone.
func (r *Road) Run(ctx context.Context) error {
	r.lanes = make([]chan jetstream.Msg, workers)
	var wg sync.WaitGroup
	for i := range r.lanes {
		r.lanes[i] = make(chan jetstream.Msg)
		wg.Go(func() { r.work(ctx, r.lanes[i]) })
	}
	feed, err := r.consumer.Consume(func(m jetstream.Msg) { r.dispatch(ctx, m) },
		jetstream.PullMaxBytes(pullBytes),
		jetstream.ConsumeErrHandler(r.consumeError))
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-r.lost:
		}
		feed.Drain() // what the client holds goes back through dispatch
		<-feed.Closed()
	}
	for _, lane := range r.lanes {
		close(lane)
	}
	wg.Wait()
	if ferr := r.conn.FlushTimeout(acceptTimeout); ferr != nil && err == nil {
		err = fmt.Errorf("send last acknowledgements: %w", ferr)
	}
	if err != nil {
		return fmt.Errorf("take reports from NATS: %w", err)
	}
	return nil
}

// consumeError is called for what goes wrong between messages. The client gets
// over most of it by itself; a consumer that is gone it does not.
func (r *Road) consumeError(_ jetstream.ConsumeContext, err error) {
	if errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) {
		select {
		case r.lost <- err:
		default:
		}
		return
	}
	r.log.Warn("consume interrupted", "err", err)
}

// dispatch gives a message to its subject's worker, or back to the broker when
// the road is closing. It blocks while the worker is busy, which is what bounds
// memory: the broker hands out no more than pullBytes ahead.
func (r *Road) dispatch(ctx context.Context, m jetstream.Msg) {
	lane := r.lanes[maphash.String(r.seed, m.Subject())%uint64(len(r.lanes))]
	select {
	case lane <- m:
	case <-ctx.Done():
		_ = m.Nak() // a lost Nak costs ackWait, no more
	}
}

func (r *Road) work(ctx context.Context, lane <-chan jetstream.Msg) {
	for m := range lane {
		// What has begun is finished: a report recorded but not acknowledged would
		// only come again.
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), acceptTimeout)
		r.handle(one, m)
		cancel()
	}
}

// handle takes one message through the door and decides on its acknowledgement.
func (r *Road) handle(ctx context.Context, m jetstream.Msg) {
	key := addressOf(m.Subject())
	receipt, err := r.door.Accept(ctx, ingest.Delivery{Raw: m.Data(), Road: Name, TransportKey: key})
	if _, refused := errors.AsType[*ingest.Rejection](err); err != nil && !refused {
		r.retry(m, err)
		return
	}
	if receipt != nil {
		if err := r.PublishReceipt(key, receipt); err != nil {
			// The host asks again, and gets the same answer.
			r.log.Warn("receipt not sent", "transport_key", key, "err", err)
		}
	}
	if err := m.Ack(); err != nil {
		r.log.Warn("message not acknowledged", "err", err)
	}
}

// addressOf is the last token of a report subject. It may be no transport key
// at all; then it is no host's, and the door finds that out and keeps a record.
func addressOf(subject string) string {
	return subject[strings.LastIndexByte(subject, '.')+1:]
}

func (r *Road) retry(m jetstream.Msg, cause error) {
	r.retries.Add(1)
	delay := retryMin
	if meta, err := m.Metadata(); err == nil {
		delay = backoff(meta.NumDelivered)
	}
	r.log.Warn("report not decided, will try again", "delay", delay, "err", cause)
	if err := m.NakWithDelay(delay); err != nil {
		r.log.Warn("message not given back", "err", err)
	}
}

// backoff is the wait before delivery n+1: exponential, with the upper half random.
func backoff(n uint64) time.Duration {
	d := retryMin << min(max(n, 1)-1, 10)
	d = min(d, retryMax)
	return d/2 + rand.N(d/2) //nolint:gosec // spreads load, guards nothing
}

// PublishReceipt sends a receipt to the host with a transport key.
func (r *Road) PublishReceipt(transportKey string, receipt []byte) error {
	if !nkeys.IsValidPublicUserKey(transportKey) {
		return fmt.Errorf("publish receipt: %.80q is not a NATS user key", transportKey)
	}
	if err := r.conn.Publish(schema.ReceiptSubject(transportKey), receipt); err != nil {
		return fmt.Errorf("publish receipt: %w", err)
	}
	return nil
}

// Depth is what waits in the stream.
type Depth struct {
	Messages, Bytes uint64
	// AckPending counts messages handed out and not yet decided.
	AckPending int
	// Retries counts deliveries the door could not decide on since start.
	Retries int64
}

// Depth asks the broker what waits.
func (r *Road) Depth(ctx context.Context) (Depth, error) {
	s, err := r.stream.Info(ctx)
	if err != nil {
		return Depth{}, fmt.Errorf("ask stream %s: %w", schema.StreamReports, err)
	}
	c, err := r.consumer.Info(ctx)
	if err != nil {
		return Depth{}, fmt.Errorf("ask consumer %s: %w", consumerName, err)
	}
	return Depth{Messages: s.State.Msgs, Bytes: s.State.Bytes, AckPending: c.NumAckPending, Retries: r.retries.Load()}, nil
}
