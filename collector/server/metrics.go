package server

import (
	"context"
	"errors"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/patchproof/patchproof/collector/ingest/natsin"
	"github.com/patchproof/patchproof/collector/lineage"
	"github.com/patchproof/patchproof/collector/store"
	"github.com/patchproof/patchproof/schema"
)

// maxMarks is where counting assets that wait for assessment ends.
const maxMarks = 100_000

// metrics are the collector's, in a registry of their own.
type metrics struct {
	registry *prometheus.Registry
	reports  *prometheus.CounterVec
	denials  *prometheus.CounterVec
}

func newMetrics(c *collector) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "patchproof_reports_total",
			Help: "Deliveries the door decided on: accepted, duplicate, need (parts asked for) or rejected with a reason.",
		}, []string{"decision", "reason"}),
		denials: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "patchproof_broker_denials_total",
			Help: "What the broker refused connections: publish, subscribe, authentication, limit or protocol.",
		}, []string{"kind"}),
	}
	for _, kind := range natsin.DenialKinds {
		m.denials.WithLabelValues(kind)
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "patchproof_build_info",
		Help:        "The running version, always 1.",
		ConstLabels: prometheus.Labels{"version": c.o.Version, "go_version": runtime.Version()},
	})
	info.Set(1)
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.reports, m.denials, info, &gauges{c},
	)
	return m
}

// decided counts a decision of the door.
func (m *metrics) decided(decision, reason string) { m.reports.WithLabelValues(decision, reason).Inc() }

// denied counts what the broker refused a connection.
func (m *metrics) denied(d natsin.Denial) { m.denials.WithLabelValues(d.Kind).Inc() }

// gauges reads the parts' state at each scrape.
type gauges struct{ c *collector }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("patchproof_"+name, help, labels, nil)
}

//nolint:gochecknoglobals // descriptions are constants that Go has no syntax for
var (
	descUp         = describe("up", "Whether a part works (1) or fails (0).", "part")
	descQuarantine = describe("quarantine_envelopes", "Refused envelopes that are held.")
	descQuarBytes  = describe("quarantine_bytes", "Bytes of refused envelopes that are held.")
	descPending    = describe("pending_keys", "Evidence keys whose reports wait for trust.")
	descDropped    = describe("quarantine_dropped_total", "Refused envelopes over the limits, not held.")
	descStream     = describe("stream_messages", "Reports that wait in the broker's stream.")
	descStrBytes   = describe("stream_bytes", "Bytes of reports that wait in the broker's stream.")
	descAckPending = describe("stream_ack_pending", "Reports handed to the door and not decided yet.")
	descRetries    = describe("door_retries_total", "Deliveries the door could not decide on and gave back.")
	descMarks      = describe("assess_waiting_assets", "Assets that wait for assessment.")
	descAssets     = describe("assets", "Hosts whose keys are trusted.")
	descClones     = describe("clone_suspect_assets", "Hosts whose key two hosts may be speaking with.")
	descLeaves     = describe("evidence_leaves", "Leaves of the evidence log.")
	descSize       = describe("evidence_checkpoint_size", "Leaves under the last signed checkpoint.")
	descSigned     = describe("evidence_checkpoint_timestamp_seconds", "When the last checkpoint was signed, Unix seconds.")
	descCertEnd    = describe("tls_expires_timestamp_seconds", "When the broker's certificate and its authority expire, Unix seconds; only with TLS.", "what")
)

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descUp, descQuarantine, descQuarBytes, descPending, descDropped, descStream, descStrBytes, descAckPending,
		descRetries, descMarks, descAssets, descClones, descLeaves, descSize, descSigned, descCertEnd,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. A part that does not answer shows in
// patchproof_up, and its own figures are left out rather than given as zero.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout) //nolint:forbidigo,nolintlint // a scrape brings no context
	defer cancel()
	for _, k := range g.c.checks(ctx) {
		up := 1.0
		if k.err != nil {
			up = 0
		}
		ch <- prometheus.MustNewConstMetric(descUp, prometheus.GaugeValue, up, k.part)
	}
	g.quarantine(ctx, ch)
	g.stream(ctx, ch)
	g.assessment(ctx, ch)
	g.log(ctx, ch)
	if g.c.tls != nil {
		certificate, authority := g.c.tls.Expires()
		if !certificate.IsZero() {
			ch <- prometheus.MustNewConstMetric(descCertEnd, prometheus.GaugeValue, float64(certificate.Unix()), "certificate")
		}
		ch <- prometheus.MustNewConstMetric(descCertEnd, prometheus.GaugeValue, float64(authority.Unix()), "authority")
	}
}

func gauge[N int | int64 | uint64 | float64](ch chan<- prometheus.Metric, d *prometheus.Desc, n N) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n))
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, n int64) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
}

func (g *gauges) quarantine(ctx context.Context, ch chan<- prometheus.Metric) {
	if n, bytes, err := g.c.store.QuarantineUse(ctx); err == nil {
		gauge(ch, descQuarantine, n)
		gauge(ch, descQuarBytes, bytes)
	}
	if keys, err := g.c.store.QuarantineKeys(ctx, schema.ReasonUnknownKey); err == nil {
		gauge(ch, descPending, len(keys))
	}
	if dropped, err := g.c.store.DroppedEnvelopes(ctx); err == nil {
		var n int64
		for _, d := range dropped {
			n += d.Count
		}
		counter(ch, descDropped, n)
	}
}

func (g *gauges) stream(ctx context.Context, ch chan<- prometheus.Metric) {
	d, err := g.c.road.Depth(ctx)
	if err != nil {
		return
	}
	gauge(ch, descStream, d.Messages)
	gauge(ch, descStrBytes, d.Bytes)
	gauge(ch, descAckPending, d.AckPending)
	counter(ch, descRetries, d.Retries)
}

func (g *gauges) assessment(ctx context.Context, ch chan<- prometheus.Metric) {
	if marks, err := g.c.store.DirtyAssets(ctx, maxMarks); err == nil {
		gauge(ch, descMarks, len(marks))
	}
	if assets, err := g.c.store.Assets(ctx); err == nil {
		gauge(ch, descAssets, len(assets))
		suspects := 0
		for i := range assets {
			if lineage.Suspected(assets[i].Gaps) {
				suspects++
			}
		}
		gauge(ch, descClones, suspects)
	}
}

func (g *gauges) log(ctx context.Context, ch chan<- prometheus.Metric) {
	if n, err := g.c.store.LeafCount(ctx); err == nil {
		gauge(ch, descLeaves, n)
	}
	c, err := g.c.store.LastCheckpoint(ctx)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return
	}
	gauge(ch, descSize, c.Size)
	if !c.At.IsZero() {
		gauge(ch, descSigned, float64(c.At.UnixMicro())/1e6)
	}
}
