package natsin

import (
	"context"
	"fmt"
	"time"

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
func streamConfig(maxBytes int64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:                 schema.StreamReports,
		Description:          "host reports on their way to the door",
		Subjects:             []string{schema.SubjectReportsAll},
		Storage:              jetstream.FileStorage,
		Retention:            jetstream.WorkQueuePolicy,
		Discard:              jetstream.DiscardNew,
		DiscardNewPerSubject: true,
		MaxMsgsPerSubject:    perHost,
		MaxBytes:             maxBytes,
		MaxMsgSize:           broker.MaxMessage,
		MaxAge:               0,
		Duplicates:           dedupWindow,
		DenyDelete:           true,
		DenyPurge:            true,
		Replicas:             1,
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

// openStream creates or updates the stream and its one consumer.
func openStream(ctx context.Context, js jetstream.JetStream, maxBytes int64) (jetstream.Stream, jetstream.Consumer, error) {
	stream, err := js.CreateOrUpdateStream(ctx, streamConfig(maxBytes))
	if err != nil {
		return nil, nil, fmt.Errorf("open stream %s: %w", schema.StreamReports, err)
	}
	consumer, err := stream.CreateOrUpdateConsumer(ctx, consumerConfig)
	if err != nil {
		return nil, nil, fmt.Errorf("open consumer %s: %w", consumerName, err)
	}
	return stream, consumer, nil
}
