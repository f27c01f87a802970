package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/patchproof/patchproof/collector/access"
	"github.com/patchproof/patchproof/collector/store"
)

type contextKey int

const keyUse contextKey = iota

// use is what is known of a request while it is answered, and logged after it.
type use struct {
	id     string
	token  store.Token
	act    bool // what it asks for changes something, or is nothing we serve
	status int
}

// useOf is the use of a request's context; a context of no request has an empty
// one, which may do nothing.
func useOf(ctx context.Context) *use { return asUse(ctx.Value(keyUse)) }

func asUse(value any) *use {
	if u, ok := value.(*use); ok {
		return u
	}
	return &use{}
}

func tokenName(ctx context.Context) string { return useOf(ctx).token.Name }

// statusWriter remembers the status that was answered.
type statusWriter struct {
	http.ResponseWriter
	use *use
}

func (w *statusWriter) WriteHeader(status int) {
	if w.use.status == 0 {
		w.use.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.use.status == 0 {
		w.use.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// withRequest gives every request an id and logs its outcome.
func (s *server) withRequest(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var raw [8]byte
		_, _ = rand.Read(raw[:]) // never fails
		u := &use{id: hex.EncodeToString(raw[:]), act: true}
		h := w.Header()
		h.Set("X-Request-Id", u.id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'")
		h.Set("Cache-Control", "no-store")
		defer s.logUse(r, u)
		next.ServeHTTP(&statusWriter{w, u}, r.WithContext(context.WithValue(r.Context(), keyUse, u)))
	})
}

// maxLogged bounds what a caller can write into the log with one request.
const maxLogged = 256

// logUse says who used the API for what: acts, and what was refused to a known
// token, for operators, questions for us. Who has no token is told of elsewhere.
func (s *server) logUse(r *http.Request, u *use) {
	if u.token.Name == "" {
		return
	}
	level := slog.LevelDebug
	if u.act || u.status >= http.StatusBadRequest {
		level = slog.LevelInfo
	}
	path := r.URL.Path
	s.log.Log(r.Context(), level, "request", "token", u.token.Name, "request", u.id,
		"method", r.Method, "path", path[:min(len(path), maxLogged)], "status", u.status)
}

// withToken lets a request pass that carries a token in use. The OpenAPI
// document is public: it says nothing about the estate.
func (s *server) withToken(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/openapi") {
			next.ServeHTTP(w, r)
			return
		}
		presented, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		t, err := s.guard.Enter(r.Context(), presented, r.RemoteAddr)
		u := useOf(r.Context())
		u.token = t
		if err != nil {
			s.turnAway(w, r, u, err)
			return
		}
		if err := s.guard.Used(r.Context(), t); err != nil {
			s.log.Warn("token use not recorded", "token", t.Name, "err", err)
		}
		next.ServeHTTP(w, r)
	})
}

// turnAway answers who was not let in.
func (s *server) turnAway(w http.ResponseWriter, r *http.Request, u *use, err error) {
	if t, ok := errors.AsType[*access.Throttled](err); ok {
		seconds := int64(math.Ceil(t.After.Seconds()))
		w.Header().Set("Retry-After", strconv.FormatInt(max(seconds, 1), 10))
		s.refuse(w, r, http.StatusTooManyRequests, "too many requests; Retry-After says when to try again")
		return
	}
	for _, known := range []error{access.ErrNoToken, access.ErrUnknown, access.ErrExpired, access.ErrRevoked} {
		if errors.Is(err, known) {
			// As many of these are logged as an address is answered.
			s.log.Info("request without a token in use", "request", u.id, "token", u.token.Name, "remote", r.RemoteAddr, "err", known)
			w.Header().Set("WWW-Authenticate", `Bearer realm="patchproof"`)
			s.refuse(w, r, http.StatusUnauthorized, known.Error())
			return
		}
	}
	s.log.Error("token lookup failed", "request", u.id, "err", err)
	s.refuse(w, r, http.StatusServiceUnavailable, "tokens cannot be checked now, try again")
}

// nothingHere answers for paths and methods that are not served.
func (s *server) nothingHere(w http.ResponseWriter, r *http.Request) {
	s.refuse(w, r, http.StatusNotFound, "nothing answers to this method and path; /v1/openapi.json lists what does")
}

// asOf is the instant an answer speaks of.
func (s *server) asOf() time.Time { return s.Now().UTC().Truncate(time.Second) }
