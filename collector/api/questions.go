package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/patchproof/patchproof/collector/finding"
	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/store"
)

// maxPage bounds a page of findings.
const maxPage = 10_000

// answer wraps a body for huma.
type answer[T any] struct{ Body T }

// get registers a read-only operation.
func get[I, O any](s *server, api huma.API, path, id, summary string, f func(context.Context, *I) (O, error)) {
	huma.Register(api, huma.Operation{
		OperationID: id, Method: http.MethodGet, Path: path, Summary: summary,
		Errors: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusTooManyRequests},
	}, func(ctx context.Context, in *I) (*answer[O], error) {
		out, err := f(ctx, in)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		return &answer[O]{Body: out}, nil
	})
}

type none struct{}

type findingsInput struct {
	Severity      string `query:"severity" enum:"critical,high,medium,low" doc:"Only this severity."`
	KEV           string `query:"kev" enum:"true,false" doc:"Only known exploited ones, or only others."`
	Overdue       bool   `query:"overdue" doc:"Only overdue ones."`
	Open          bool   `query:"open" doc:"Only those whose clock runs."`
	Asset         string `query:"asset" maxLength:"253" doc:"Asset id or name."`
	Vulnerability string `query:"vulnerability" maxLength:"128"`
	State         string `query:"state" enum:"open,pending_reboot,fixed,not_affected"`
	Limit         int    `query:"limit" minimum:"1" maximum:"10000" default:"100"`
	After         string `query:"after" maxLength:"64" doc:"Cursor: 'next' of the page before."`
}

func (in *findingsInput) filter() query.Filter {
	f := query.Filter{
		Severity: finding.Severity(in.Severity), Overdue: in.Overdue, OpenOnly: in.Open, Asset: in.Asset,
		Vulnerability: in.Vulnerability, State: finding.State(in.State), Limit: min(in.Limit, maxPage), After: in.After,
	}
	if in.KEV != "" {
		kev := in.KEV == "true"
		f.KEV = &kev
	}
	return f
}

type idInput struct {
	ID string `path:"id" maxLength:"253"`
}

// HostList is every host we track and every key that waits.
type HostList struct {
	query.AssetList
	Pending []PendingHost `json:"pending" doc:"Keys that send reports and are not trusted."`
}

// QuarantineList is what the door refused.
type QuarantineList struct {
	AsOf      time.Time    `json:"as_of"`
	Count     int          `json:"count"`
	Envelopes []Quarantine `json:"envelopes"`
}

// Quarantine is one refused envelope.
type Quarantine struct {
	Digest  string    `json:"digest"`
	Key     string    `json:"key,omitempty" doc:"Evidence key, when its signature verified."`
	Reason  string    `json:"reason"`
	Detail  string    `json:"detail,omitempty"`
	Road    string    `json:"road"`
	Count   int64     `json:"count"`
	FirstAt time.Time `json:"first_at"`
	LastAt  time.Time `json:"last_at"`
}

// FeedList is what is held of every feed.
type FeedList struct {
	AsOf  time.Time    `json:"as_of"`
	Feeds []query.Feed `json:"feeds"`
}

// CheckpointInfo is the newest signed state of the evidence log.
type CheckpointInfo struct {
	Leaves     int64     `json:"leaves"`
	Size       int64     `json:"size" doc:"Leaves the checkpoint covers."`
	At         time.Time `json:"at,omitzero"`
	Checkpoint string    `json:"checkpoint,omitempty" doc:"Signed note (C2SP tlog-checkpoint)."`
}

func (s *server) questions(api huma.API) {
	get(s, api, "/v1/summary", "summary", "The state of the whole estate",
		func(ctx context.Context, _ *none) (query.Summary, error) { return s.Query.Summary(ctx) })
	get(s, api, "/v1/findings", "list-findings", "Findings, most urgent first",
		func(ctx context.Context, in *findingsInput) (query.FindingList, error) {
			return s.Query.Findings(ctx, in.filter())
		})
	get(s, api, "/v1/findings/{id}", "explain-finding", "Why a finding stands where it stands",
		func(ctx context.Context, in *idInput) (query.Explanation, error) { return s.Query.Explain(ctx, in.ID) })
	get(s, api, "/v1/assets", "list-assets", "Every host we track",
		func(ctx context.Context, _ *none) (query.AssetList, error) { return s.Query.Assets(ctx) })
	get(s, api, "/v1/assets/{id}", "show-asset", "One host, by id or name",
		func(ctx context.Context, in *idInput) (query.AssetDetail, error) { return s.Query.Asset(ctx, in.ID) })
	get(s, api, "/v1/vulnerabilities/{id}", "show-vulnerability", "Who has it, where it is fixed, when it is due",
		func(ctx context.Context, in *idInput) (query.Vulnerability, error) {
			return s.Query.Vulnerability(ctx, in.ID)
		})
	get(s, api, "/v1/hosts", "list-hosts", "Hosts and the keys that wait for trust", s.hosts)
	get(s, api, "/v1/quarantine", "list-quarantine", "What the door refused, newest first", s.quarantine)
	get(s, api, "/v1/feeds", "list-feeds", "What is held of every feed, how old, and what it covers",
		func(ctx context.Context, _ *none) (FeedList, error) {
			feeds, err := s.Query.Feeds(ctx)
			return FeedList{AsOf: s.asOf(), Feeds: feeds}, err
		})
	get(s, api, "/v1/key", "show-key", "The receipt key agents pin",
		func(context.Context, *none) (KeyInfo, error) { return s.Operator.ReceiptKey(), nil })
	get(s, api, "/v1/evidence/checkpoint", "show-checkpoint", "The newest signed state of the evidence log", s.checkpoint)
}

func (s *server) hosts(ctx context.Context, _ *none) (HostList, error) {
	list, err := s.Query.Assets(ctx)
	if err != nil {
		return HostList{}, err
	}
	pending, err := s.Operator.PendingHosts(ctx)
	if pending == nil {
		pending = []PendingHost{}
	}
	return HostList{AssetList: list, Pending: pending}, err
}

func (s *server) quarantine(ctx context.Context, _ *none) (QuarantineList, error) {
	rows, err := s.Query.Store.QuarantinedEnvelopes(ctx, "", 1000)
	if err != nil {
		return QuarantineList{}, err
	}
	out := QuarantineList{AsOf: s.asOf(), Count: len(rows), Envelopes: []Quarantine{}}
	for _, q := range rows {
		out.Envelopes = append(out.Envelopes, Quarantine{
			Digest: q.Digest, Key: q.Key, Reason: q.Reason, Detail: q.Detail, Road: q.Road,
			Count: q.Count, FirstAt: q.FirstAt, LastAt: q.LastAt,
		})
	}
	return out, nil
}

func (s *server) checkpoint(ctx context.Context, _ *none) (CheckpointInfo, error) {
	n, err := s.Evidence.LeafCount(ctx)
	if err != nil {
		return CheckpointInfo{}, err
	}
	out := CheckpointInfo{Leaves: n}
	c, err := s.Evidence.LastCheckpoint(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return out, nil
	}
	out.Size, out.At, out.Checkpoint = c.Size, c.At, string(c.Note)
	return out, err
}
