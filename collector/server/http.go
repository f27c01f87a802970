package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/patchproof/patchproof/collector/access"
	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/standard"
)

const (
	readHeaderTimeout = 10 * time.Second
	// bodyTimeout is room for the upload of the largest feed over loopback, and
	// for reading it.
	bodyTimeout = 15 * time.Minute
	idleTimeout = 2 * time.Minute
	// drainTimeout is what running requests get while stopping.
	drainTimeout = 10 * time.Second
	// checkTimeout bounds one look at whether a part works.
	checkTimeout = 2 * time.Second
	maxHeader    = 32 << 10
)

// handler is everything the collector serves over HTTP: the API, and beside it
// what supervisors and monitors ask, which names no host.
func (c *collector) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v1/", api.New(api.Options{
		Query:    &query.Service{Store: c.store, Now: c.o.Now},
		Operator: &operator{door: c.door, importer: c.importer, estate: c.estate, keys: c.keys, tls: c.tls, incoming: c.data.incoming(), wake: c.assessor.Wake, approvals: c.store, now: c.o.Now},
		Access:   &access.Keeper{Store: c.store, Now: c.o.Now},
		Policies: &standard.Keeper{Store: c.store, Now: c.o.Now, Wake: c.assessor.Wake},
		Store:    c.store,
		Tokens:   c.store, Evidence: c.store, Now: c.o.Now, Log: c.o.Log,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusOK, "ok\n")
	})
	mux.HandleFunc("GET /readyz", c.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.metrics.registry, promhttp.HandlerOpts{Timeout: 10 * time.Second}))
	return http.NewCrossOriginProtection().Handler(mux)
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

// check is one part's state.
type check struct {
	part string
	err  error
}

// checks looks at every part that a working collector needs.
func (c *collector) checks(ctx context.Context) []check {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	_, storeErr := c.store.LeafCount(ctx)
	_, roadErr := c.road.Depth(ctx)
	out := []check{
		{"store", storeErr},
		{"broker", c.broker.Check()},
		{"stream", roadErr},
		{"evidence", c.evidence.Err()},
	}
	if c.tls != nil {
		out = append(out, check{"tls", c.tls.Err()})
	}
	return out
}

// ready says which parts work; the reasons are in the log.
func (c *collector) ready(w http.ResponseWriter, r *http.Request) {
	status, text := http.StatusOK, ""
	for _, k := range c.checks(r.Context()) {
		word := "ok"
		if k.err != nil {
			status, word = http.StatusServiceUnavailable, "failing"
			c.log.Warn("not ready", "part", k.part, "err", k.err)
		}
		text += k.part + " " + word + "\n"
	}
	plain(w, status, text)
}

// serveHTTP serves until ctx is done and running requests have ended.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: bodyTimeout, WriteTimeout: bodyTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(log.With("component", "http").Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err := s.Shutdown(end)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.Close() // who is still there is cut off
	}
	if serr := <-served; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	if err != nil {
		return fmt.Errorf("stop HTTP: %w", err)
	}
	return nil
}
