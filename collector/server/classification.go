package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/estate"
)

// ApplyRules puts a file of classification rules in force.
func (o *operator) ApplyRules(ctx context.Context, src []byte, by string) (api.RulesApplied, error) {
	a, err := o.estate.ApplyRules(ctx, src, by)
	if err != nil {
		return api.RulesApplied{}, spoken(err)
	}
	o.wake()
	return api.RulesApplied{Digest: a.Digest, Rules: a.Rules, Assets: a.Assets, Changed: a.Changed, Leaf: a.Leaf}, nil
}

// ImportAssets takes in a list of assets.
func (o *operator) ImportAssets(ctx context.Context, u api.AssetUpload, by string) (api.AssetsImported, error) {
	data, err := io.ReadAll(u.Body)
	if err != nil {
		if over, ok := errors.AsType[*http.MaxBytesError](err); ok {
			err = fmt.Errorf("the file has more than %d bytes", over.Limit)
		}
		return api.AssetsImported{}, &api.BadInput{Err: fmt.Errorf("read upload: %w", err)}
	}
	a, err := o.estate.Import(ctx, estate.List{Source: u.Source, File: u.File, Data: data, By: by, Whole: u.Whole, Confirm: u.Confirm})
	if err != nil {
		return api.AssetsImported{}, spoken(err)
	}
	o.wake()
	out := api.AssetsImported{
		Source: u.Source, Format: a.Format, Digest: a.Digest, Entries: a.Entries, Matched: a.Matched, Assets: a.Assets,
		Changed: a.Changed, Ignored: a.Ignored, Skipped: a.Skipped, Absent: a.Absent, Leaf: a.Leaf,
	}
	if out.Ignored == nil {
		out.Ignored = []string{}
	}
	return out, nil
}

// RetireAsset records that an asset is in use no more.
func (o *operator) RetireAsset(ctx context.Context, asset string, r api.Retirement, by string) (api.Retired, error) {
	return o.retired(o.estate.Retire(ctx, asset, r.At, r.Reason, by))
}

// SetAsset takes an operator's word on what an asset is.
func (o *operator) SetAsset(ctx context.Context, asset string, w api.AssetWords, by string) (api.AssetSaid, error) {
	s, err := o.estate.Set(ctx, asset, estate.Words{Name: w.Name, Set: w.Set, Reason: w.Reason, By: by})
	if err != nil {
		return api.AssetSaid{}, spoken(err)
	}
	o.wake()
	return api.AssetSaid{Asset: s.Asset, Name: s.Name, Attributes: s.Attributes, Leaf: s.Leaf}, nil
}

// ReinstateAsset takes a retirement back.
func (o *operator) ReinstateAsset(ctx context.Context, asset, reason, by string) (api.Retired, error) {
	return o.retired(o.estate.Reinstate(ctx, asset, reason, by))
}

func (o *operator) retired(r estate.Retired, err error) (api.Retired, error) {
	if err != nil {
		return api.Retired{}, spoken(err)
	}
	o.wake()
	return api.Retired{Asset: r.Asset.ID, Name: r.Asset.Name, Since: r.Since, Leaf: r.Leaf}, nil
}

// spoken lets callers read what is wrong with their request.
func spoken(err error) error {
	if errors.Is(err, estate.ErrInvalid) {
		return &api.BadInput{Err: err}
	}
	return err
}
