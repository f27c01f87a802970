package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

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

// AsOfInput asks of a moment that is over.
type AsOfInput struct {
	AsOf string `query:"as_of" maxLength:"40" doc:"A date (its end, in the policy's zone) or an instant that is over: the answer as of then, which never changes. Default is now."`
}

func (in *AsOfInput) moment() string { return in.AsOf }

// getAsOf registers a question that can be asked of the past, too.
func getAsOf[I any, P interface {
	*I
	moment() string
}, O any](s *server, api huma.API, path, id, summary string, f func(context.Context, *query.Service, *I) (O, error),
) {
	get(s, api, path, id, summary, func(ctx context.Context, in *I) (out O, err error) {
		err = s.Query.AsOf(ctx, P(in).moment(), func(q *query.Service) error {
			out, err = f(ctx, q, in)
			return err
		})
		return out, err
	})
}

// FilterInput declares the filters of findings, for the API's document; what they
// say is read by query.ParseFilter. A list is separated by commas; a word that
// holds one stands in double quotes. A filter said several times is one list.
type FilterInput struct {
	Severity       string `query:"severity" maxLength:"4096" doc:"critical, high, medium, low"`
	Priority       string `query:"priority" maxLength:"4096" doc:"P0 to P4"`
	State          string `query:"state" maxLength:"4096" doc:"open, pending_reboot, pending_restart, fixed, not_affected, retired"`
	Cycle          string `query:"cycle" maxLength:"4096" doc:"zero_day, out_of_cycle, in_cycle"`
	Outcome        string `query:"outcome" maxLength:"4096" doc:"within, overdue, awaiting_fix, accepted, fixed_on_time, fixed_late, not_affected, not_running, retired_in_time, retired_overdue"`
	Flag           string `query:"flag" maxLength:"4096" doc:"arrival, regression, on_time_claimed, target_missed; all of them must hold"`
	KEV            string `query:"kev" maxLength:"4096" doc:"true or false"`
	Overdue        string `query:"overdue" maxLength:"4096" doc:"true: the clock runs and the due date has passed"`
	AwaitingFix    string `query:"awaiting_fix" maxLength:"4096" doc:"true: no date yet, for want of a fix"`
	Open           string `query:"open" maxLength:"4096" doc:"true: the clock runs"`
	Vulnerability  string `query:"vulnerability" maxLength:"4096" doc:"CVE-2024-6387"`
	Component      string `query:"component" maxLength:"4096" doc:"Source packages."`
	Package        string `query:"package" maxLength:"4096" doc:"Binary packages."`
	Advisory       string `query:"advisory" maxLength:"4096" doc:"DSA-5724-1"`
	Asset          string `query:"asset" maxLength:"4096" doc:"By id or name."`
	Class          string `query:"class" maxLength:"4096" doc:"compute, appliance, image, workload, golden, code"`
	Exposure       string `query:"exposure" maxLength:"4096" doc:"internet, internal, unknown"`
	Environment    string `query:"environment" maxLength:"4096" doc:"production, nonproduction, enduser, unknown"`
	Column         string `query:"column" maxLength:"4096" doc:"Column of the timelines: internet, production, nonproduction, enduser"`
	OU             string `query:"ou" maxLength:"4096"`
	Account        string `query:"account" maxLength:"4096"`
	Region         string `query:"region" maxLength:"4096"`
	Service        string `query:"service" maxLength:"4096"`
	Owner          string `query:"owner" maxLength:"4096"`
	Unowned        string `query:"unowned" maxLength:"4096" doc:"true: on assets without an owner"`
	CrownJewel     string `query:"crown_jewel" maxLength:"4096" doc:"true or false"`
	ColdWallet     string `query:"cold_wallet" maxLength:"4096" doc:"true or false"`
	HotWallet      string `query:"hot_wallet" maxLength:"4096" doc:"true or false"`
	DueBefore      string `query:"due_before" maxLength:"4096" doc:"Date."`
	DueAfter       string `query:"due_after" maxLength:"4096" doc:"Date."`
	DetectedBefore string `query:"detected_before" maxLength:"4096" doc:"Date or instant."`
	DetectedAfter  string `query:"detected_after" maxLength:"4096" doc:"Date or instant."`
	ClosedBefore   string `query:"closed_before" maxLength:"4096" doc:"Date or instant."`
	ClosedAfter    string `query:"closed_after" maxLength:"4096" doc:"Date or instant."`
	View           string `query:"view" maxLength:"64" doc:"A ready-made question, see /v1/findings-views; filters beside it narrow further."`

	raw url.Values
}

// Resolve keeps the query as it was sent.
func (in *FilterInput) Resolve(ctx huma.Context) []error {
	u := ctx.URL()
	in.raw = u.Query()
	return nil
}

type summaryInput struct {
	FilterInput
	AsOfInput
	By   string `query:"by" enum:"ou,account,region,service,owner,severity,class,exposure,environment" doc:"Count by this, too."`
	From string `query:"from" maxLength:"40" doc:"What became of them since: a date (its beginning, in the policy's zone) or an instant that is over. The summary is then as of 'to'."`
	To   string `query:"to" maxLength:"40" doc:"End of the period: a date (its end) or an instant that is over. Default is now."`
}

// periodic answers for a period where one is asked for.
func (s *server) periodic(ctx context.Context, q *query.Service, in *summaryInput) (query.Summary, error) {
	if in.From == "" && in.To == "" {
		return summary(ctx, q, in)
	}
	if in.From == "" || in.AsOf != "" {
		return query.Summary{}, &BadInput{errors.New("a period is asked for by from and to, from at least, and without as_of")}
	}
	f, err := query.ParseFilter(in.raw)
	if err != nil {
		return query.Summary{}, err
	}
	return q.Period(ctx, in.From, in.To, f, in.By)
}

type breachesInput struct {
	FilterInput
	AsOfInput
	Kind           string `query:"kind" maxLength:"64" doc:"Kinds of deadlines: patch, mitigate."`
	BreachedAfter  string `query:"breached_after" maxLength:"40" doc:"Date or instant."`
	BreachedBefore string `query:"breached_before" maxLength:"40" doc:"Date or instant."`
	Limit          int    `query:"limit" minimum:"1" maximum:"10000" default:"100"`
	After          string `query:"after" maxLength:"64" doc:"Cursor: 'next' of the page before."`
}

func breaches(ctx context.Context, q *query.Service, in *breachesInput) (query.BreachList, error) {
	f, err := query.ParseFilter(in.raw)
	if err != nil {
		return query.BreachList{}, err
	}
	f.Limit = min(in.Limit, maxPage)
	b := query.BreachQuery{Filter: f, BreachedAfter: in.BreachedAfter, BreachedBefore: in.BreachedBefore}
	if in.Kind != "" {
		b.Kinds = strings.Split(in.Kind, ",")
	}
	return q.Breaches(ctx, b)
}

func summary(ctx context.Context, q *query.Service, in *summaryInput) (query.Summary, error) {
	f, err := query.ParseFilter(in.raw)
	if err != nil {
		return query.Summary{}, err
	}
	return q.Summary(ctx, f, in.By)
}

type findingsInput struct {
	FilterInput
	AsOfInput
	Sort  string `query:"sort" maxLength:"256" doc:"Keys, - before one turns it around: due, priority, severity, kev, detected, closed, vulnerability, component, asset, state. Default is urgency."`
	Limit int    `query:"limit" minimum:"1" maximum:"10000" default:"100"`
	After string `query:"after" maxLength:"64" doc:"Cursor: 'next' of the page before."`
}

func findings(ctx context.Context, q *query.Service, in *findingsInput) (query.FindingList, error) {
	f, err := query.ParseFilter(in.raw)
	if err != nil {
		return query.FindingList{}, err
	}
	f.Limit = min(in.Limit, maxPage)
	return q.Findings(ctx, f)
}

// ViewList lists the ready-made questions.
type ViewList struct {
	Views []query.View `json:"views"`
}

type idInput struct {
	ID string `path:"id" maxLength:"253"`
}

type idAsOfInput struct {
	AsOfInput
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

// QuarantineDetail is one refused envelope with its bytes.
type QuarantineDetail struct {
	AsOf time.Time `json:"as_of"`
	Quarantine
	Size int    `json:"size"`
	Raw  []byte `json:"raw" doc:"The envelope as it came, in base64. Nothing in it was believed."`
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
	getAsOf(s, api, "/v1/summary", "summary", "The state of the whole estate, or of what filters let through, by what people group by", s.periodic)
	getAsOf(s, api, "/v1/findings", "list-findings", "Findings, most urgent first", findings)
	get(s, api, "/v1/findings-views", "list-finding-views", "Ready-made questions on findings",
		func(context.Context, *none) (ViewList, error) { return ViewList{Views: query.Views}, nil })
	getAsOf(s, api, "/v1/breaches", "list-breaches", "Breached deadlines, each once for every episode and kind of deadline", breaches)
	getAsOf(s, api, "/v1/findings/{id}", "explain-finding", "Why a finding stands where it stands",
		func(ctx context.Context, q *query.Service, in *idAsOfInput) (query.Explanation, error) {
			return q.Explain(ctx, in.ID)
		})
	getAsOf(s, api, "/v1/findings/{id}/history", "show-finding-history", "Every recorded state of a finding, oldest first",
		func(ctx context.Context, q *query.Service, in *idAsOfInput) (query.FindingHistory, error) {
			return q.FindingHistory(ctx, in.ID)
		})
	getAsOf(s, api, "/v1/assets", "list-assets", "Every host we track",
		func(ctx context.Context, q *query.Service, _ *AsOfInput) (query.AssetList, error) {
			return q.Assets(ctx)
		})
	getAsOf(s, api, "/v1/assets/{id}", "show-asset", "One host, by id or name",
		func(ctx context.Context, q *query.Service, in *idAsOfInput) (query.AssetDetail, error) {
			return q.Asset(ctx, in.ID)
		})
	getAsOf(s, api, "/v1/assets/{id}/history", "show-asset-history", "What became of a host: reports, names, attributes, gaps, oldest first",
		func(ctx context.Context, q *query.Service, in *idAsOfInput) (query.AssetHistory, error) {
			return q.AssetHistory(ctx, in.ID)
		})
	getAsOf(s, api, "/v1/vulnerabilities/{id}", "show-vulnerability", "Who has it, where it is fixed, when it is due",
		func(ctx context.Context, q *query.Service, in *idAsOfInput) (query.Vulnerability, error) {
			return q.Vulnerability(ctx, in.ID)
		})
	get(s, api, "/v1/assets/{id}/lines", "show-lines", "How the reports of a host follow each other, and whether two hosts speak with its key",
		func(ctx context.Context, in *idInput) (query.LineList, error) { return s.Query.Lines(ctx, in.ID) })
	get(s, api, "/v1/hosts", "list-hosts", "Hosts and the keys that wait for trust", s.hosts)
	get(s, api, "/v1/quarantine", "list-quarantine", "What the door refused, newest first", s.quarantine)
	get(s, api, "/v1/quarantine/{id}", "show-quarantined", "One refused envelope, by its digest", s.quarantined)
	getAsOf(s, api, "/v1/gaps", "list-gaps", "What could not be read or told, on every asset",
		func(ctx context.Context, q *query.Service, _ *AsOfInput) (query.GapList, error) { return q.Gaps(ctx) })
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
	for i := range rows {
		out.Envelopes = append(out.Envelopes, quarantineRow(&rows[i]))
	}
	return out, nil
}

func (s *server) quarantined(ctx context.Context, in *idInput) (QuarantineDetail, error) {
	q, err := s.Query.Store.QuarantinedEnvelope(ctx, in.ID)
	if err != nil {
		return QuarantineDetail{}, err
	}
	return QuarantineDetail{
		AsOf: s.Now().UTC().Truncate(time.Second), Quarantine: quarantineRow(&q), Size: len(q.Raw), Raw: q.Raw,
	}, nil
}

func quarantineRow(q *store.Quarantined) Quarantine {
	return Quarantine{
		Digest: q.Digest, Key: q.Key, Reason: q.Reason, Detail: q.Detail, Road: q.Road,
		Count: q.Count, FirstAt: q.FirstAt, LastAt: q.LastAt,
	}
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
