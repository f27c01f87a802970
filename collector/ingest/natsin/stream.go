package natsin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/patchproof/patchproof/collector/broker"
	"github.com/patchproof/patchproof/schema"
)

const (
	// perHost is how many reports of one host may wait. One more is refused, and
	// the host, which keeps it, tries again later.
	perHost = 16
	// dedupWindow is how long the broker remembers message ids. It is short
	// because anybody who may publish can use up an id: the door tells duplicates
	// apart by what is signed, the broker only spares it quick repeats.
	dedupWindow = time.Second
	// ackWait is how long a message may be handed out before it is handed out
	// again: far more than maxAckPending messages take, and what a host waits at
	// most when the program was killed with its message in hand.
	ackWait = 15 * time.Second
	// maxAckPending bounds messages handed out and not yet acknowledged.
	maxAckPending = 256
	// pullBytes bounds the bytes of messages handed out and not yet taken by a
	// worker. It must hold one message of the largest size.
	pullBytes = 2*broker.MaxMessage + broker.MaxHeader

	consumerName = "door"
)

// streamConfig is the stream of reports: files, each message until it is
// acknowledged, none dropped for age or for room.
func streamConfig(o StreamOptions) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:                 schema.StreamReports,
		Description:          "host reports on their way to the door",
		Subjects:             []string{schema.SubjectReportsAll},
		Storage:              jetstream.FileStorage,
		Retention:            jetstream.WorkQueuePolicy,
		Discard:              jetstream.DiscardNew,
		DiscardNewPerSubject: true,
		MaxMsgsPerSubject:    perHost,
		MaxBytes:             o.MaxBytes,
		MaxMsgSize:           broker.MaxMessage,
		MaxAge:               0,
		Duplicates:           dedupWindow,
		DenyDelete:           true,
		DenyPurge:            true,
		Replicas:             o.Replicas,
	}
}

var consumerConfig = jetstream.ConsumerConfig{
	Durable:       consumerName,
	AckPolicy:     jetstream.AckExplicitPolicy,
	AckWait:       ackWait,
	MaxDeliver:    -1,
	MaxAckPending: maxAckPending,
	DeliverPolicy: jetstream.DeliverAllPolicy,
}

// openStream creates or updates the stream and its one consumer. A cluster that has
// just started needs a while to agree on who leads it.
func openStream(ctx context.Context, js jetstream.JetStream, o StreamOptions) (jetstream.Stream, jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	stream, err := createStream(ctx, js, o)
	for err != nil && notYet(err) && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(startPause):
		}
		stream, err = createStream(ctx, js, o)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open stream %s: %w", schema.StreamReports, err)
	}
	consumer, err := stream.CreateOrUpdateConsumer(ctx, consumerConfig)
	if err != nil {
		return nil, nil, fmt.Errorf("open consumer %s: %w", consumerName, err)
	}
	return stream, consumer, nil
}

// startPause is the wait before a cluster is asked again.
const startPause = 500 * time.Millisecond

// createStream bounds one attempt: a cluster without a leader does not answer.
func createStream(ctx context.Context, js jetstream.JetStream, o StreamOptions) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*startPause)
	defer cancel()
	return js.CreateOrUpdateStream(ctx, streamConfig(o))
}

// notYet reports whether a cluster may still come to say something else.
func notYet(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) {
		return true
	}
	said, ok := errors.AsType[jetstream.JetStreamError](err)
	return ok && said.APIError() != nil && said.APIError().Code == 503 // no leader, or too few nodes
}
