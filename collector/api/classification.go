package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/patchproof/patchproof/collector/query"
)

// RulesApplied says what came of applying rules.
type RulesApplied struct {
	Digest  string `json:"digest"`
	Rules   int    `json:"rules"`
	Assets  int    `json:"assets" doc:"Assets looked at."`
	Changed int    `json:"changed" doc:"Assets classified otherwise than before, or by another word."`
	Leaf    int64  `json:"leaf" doc:"Index of the evidence leaf; -1 when these rules were in force already."`
}

// AssetsImported says what came of importing a list.
type AssetsImported struct {
	Source  string         `json:"source"`
	Format  string         `json:"format"`
	Digest  string         `json:"digest"`
	Entries int            `json:"entries"`
	Matched int            `json:"matched" doc:"Assets that an entry was given to."`
	Assets  int            `json:"assets"`
	Changed int            `json:"changed" doc:"Assets classified otherwise than before, or by another word."`
	Ignored []string       `json:"ignored" doc:"Columns nobody reads."`
	Skipped map[string]int `json:"skipped" doc:"Records of other kinds, by kind."`
	Absent  int            `json:"absent" doc:"Machines that a whole list left out: they are terminated."`
	Leaf    int64          `json:"leaf"`
}

// AssetUpload is a list of assets a client sends.
type AssetUpload struct {
	// Source names the list, File the file it came in.
	Source, File string
	// Whole: the file is all of the list. Confirm takes one that leaves out many.
	Whole, Confirm bool
	Body           io.Reader
}

// RulesTest is what rules that are not applied would do: to one asset, or to all.
type RulesTest struct {
	Asset *query.Classified `json:"asset,omitempty"`
	Trial *query.RulesTrial `json:"trial,omitempty"`
}

// bodyInput takes the body as a stream.
type bodyInput struct{ body io.Reader }

// Resolve keeps the body's reader.
func (in *bodyInput) Resolve(ctx huma.Context) []error {
	in.body = ctx.BodyReader()
	return nil
}

type rulesTestInput struct {
	bodyInput
	Asset string `query:"asset" maxLength:"253" doc:"Asset id or name; all assets when empty."`
}

type assetImportInput struct {
	bodyInput
	Source string `query:"source" required:"true" maxLength:"64" doc:"Name of the list: cmdb, config, ssm."`
	File   string `query:"file" maxLength:"255" doc:"File name, for the record only."`

	Whole   bool `query:"whole" doc:"The file is all of the list: machines it leaves out are terminated."`
	Confirm bool `query:"confirm" doc:"Take a whole list that leaves out more than a fifth of the machines, and more than ten."`
}

type coverageInput struct {
	AsOfInput
	Cadence string `query:"cadence" maxLength:"32" doc:"How long a host may be silent, as 24h."`
}

// longest is the greatest cadence: a year.
const longest = 366 * 24 * time.Hour

func (in *coverageInput) cadence() (time.Duration, error) {
	if in.Cadence == "" {
		return query.DefaultCadence, nil
	}
	d, err := time.ParseDuration(in.Cadence)
	if err != nil || d <= 0 || d > longest {
		return 0, &BadInput{fmt.Errorf("cadence %q: want a time such as 24h, at most a year", in.Cadence)}
	}
	return d, nil
}

// readBody reads a whole body, which authorize has bounded.
func readBody(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(r)
	if over, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, &BadInput{fmt.Errorf("the file has more than %d bytes", over.Limit)}
	}
	if err != nil {
		return nil, &BadInput{fmt.Errorf("read upload: %w", err)}
	}
	return b, nil
}

func (s *server) classification(api huma.API) {
	get(s, api, "/v1/classification", "show-classification", "The rules in force and every list of assets imported",
		func(ctx context.Context, _ *none) (query.Classification, error) { return s.Query.Classification(ctx) })
	get(s, api, "/v1/classification/assets/{id}", "explain-classification", "By whose word an asset is what it is, attribute by attribute",
		func(ctx context.Context, in *idInput) (query.Classified, error) {
			return s.Query.Classified(ctx, in.ID, nil)
		})
	getAsOf(s, api, "/v1/classification/gaps", "list-classification-gaps", "Assets whose exposure, environment or owner nobody vouches for",
		func(ctx context.Context, q *query.Service, _ *AsOfInput) (query.ClassificationGaps, error) {
			return q.ClassificationGaps(ctx)
		})
	getAsOf(s, api, "/v1/coverage", "show-coverage", "What is expected against what reports",
		func(ctx context.Context, q *query.Service, in *coverageInput) (query.Coverage, error) {
			cadence, err := in.cadence()
			if err != nil {
				return query.Coverage{}, err
			}
			return q.Coverage(ctx, cadence)
		})
	upload(s, api, "/v1/classification/rules", "apply-classification", "Put a file of classification rules in force",
		func(ctx context.Context, in *bodyInput) (RulesApplied, error) {
			src, err := readBody(in.body)
			if err != nil {
				return RulesApplied{}, err
			}
			return s.Operator.ApplyRules(ctx, src, tokenName(ctx))
		})
	upload(s, api, "/v1/classification/test", "test-classification", "What rules that are not applied would do", s.testRules)
	upload(s, api, "/v1/assets/import", "import-assets", "Import a list of assets: CMDB CSV or JSON, AWS EC2, Config, SSM, Organizations",
		func(ctx context.Context, in *assetImportInput) (AssetsImported, error) {
			return s.Operator.ImportAssets(ctx, AssetUpload{Source: in.Source, File: in.File, Body: in.body, Whole: in.Whole, Confirm: in.Confirm}, tokenName(ctx))
		})
}

func (s *server) testRules(ctx context.Context, in *rulesTestInput) (RulesTest, error) {
	src, err := readBody(in.body)
	if err != nil {
		return RulesTest{}, err
	}
	var out RulesTest
	if in.Asset != "" {
		asset, err := s.Query.Classified(ctx, in.Asset, src)
		out.Asset = &asset
		return out, badRules(err)
	}
	trial, err := s.Query.TryRules(ctx, src)
	out.Trial = &trial
	return out, badRules(err)
}

// badRules lets the caller read what is wrong with a file of theirs.
func badRules(err error) error {
	if bad, ok := errors.AsType[*query.BadRules](err); ok {
		return &BadInput{bad}
	}
	return err
}

// upload registers an operation that takes a file.
func upload[I, O any](s *server, api huma.API, path, id, summary string, f func(context.Context, *I) (O, error)) {
	huma.Register(api, huma.Operation{
		OperationID: id, Method: http.MethodPost, Path: path, Summary: summary, DefaultStatus: http.StatusOK,
		RequestBody: &huma.RequestBody{
			Required: true,
			Content:  map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: "string", Format: "binary"}}},
		},
		SkipValidateBody: true,
		Errors:           []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity},
	}, func(ctx context.Context, in *I) (*answer[O], error) {
		out, err := f(ctx, in)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		return &answer[O]{Body: out}, nil
	})
}
