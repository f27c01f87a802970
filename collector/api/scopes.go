package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/patchproof/patchproof/collector/access"
	"github.com/patchproof/patchproof/collector/classify"
)

// operation is what a caller needs for an operation, and may send.
type operation struct {
	scope access.Scope
	// body bounds what is read of the request, maxBody when zero.
	body int64
	// stream: the body is not held in memory, and bounded by Options.MaxUpload.
	stream bool
}

func (o operation) limit() int64 {
	if o.body == 0 {
		return maxBody
	}
	return o.body
}

// operations names every operation by its id. One that is not here is refused to
// everybody.
var operations = map[string]operation{
	"summary":              {scope: access.Read},
	"list-findings":        {scope: access.Read},
	"list-finding-views":   {scope: access.Read},
	"explain-finding":      {scope: access.Read},
	"list-assets":          {scope: access.Read},
	"show-finding-history": {scope: access.Read},
	"list-gaps":            {scope: access.Read},
	"show-quarantined":     {scope: access.Read},
	"show-asset":           {scope: access.Read},
	"show-asset-history":   {scope: access.Read},
	"list-breaches":        {scope: access.Read},
	"show-vulnerability":   {scope: access.Read},
	"list-hosts":           {scope: access.Read},
	"list-quarantine":      {scope: access.Read},
	"list-feeds":           {scope: access.Read},
	"show-key":             {scope: access.Read},
	"show-checkpoint":      {scope: access.Read},

	"show-lines": {scope: access.Read},

	"trust-host":  {scope: access.Operate},
	"clear-clone": {scope: access.Approve},
	"import-feed": {scope: access.Operate, stream: true},

	"show-classification":      {scope: access.Read},
	"explain-classification":   {scope: access.Read},
	"list-classification-gaps": {scope: access.Read},
	"show-coverage":            {scope: access.Read},
	"test-classification":      {scope: access.Read, body: classify.MaxRules},
	"apply-classification":     {scope: access.Operate, body: classify.MaxRules},
	"import-assets":            {scope: access.Operate, body: classify.MaxImport},
	"retire-asset":             {scope: access.Operate},
	"reinstate-asset":          {scope: access.Operate},
	"set-asset":                {scope: access.Operate},
	"list-approvals":           {scope: access.Read},
	"grant-approval":           {scope: access.Approve},
	"deny-approval":            {scope: access.Approve},

	"list-policies":   {scope: access.Read},
	"show-policy":     {scope: access.Read},
	"diff-policies":   {scope: access.Read},
	"simulate-policy": {scope: access.Read, body: maxPolicy},
	"apply-policy":    {scope: access.Admin, body: maxPolicy},

	"list-tokens":  {scope: access.Admin},
	"create-token": {scope: access.Admin},
	"revoke-token": {scope: access.Admin},
}

// declare writes into the OpenAPI document what an operation needs.
func declare(_ *huma.OpenAPI, op *huma.Operation) {
	o := operations[op.OperationID]
	op.MaxBodyBytes = o.limit()
	need := []string{}
	if o.scope != "" {
		need = append(need, string(o.scope))
	}
	op.Security = []map[string][]string{{"token": need}}
}

// authorize lets a request pass whose token has the operation's scope, and bounds
// its body.
func (s *server) authorize(api huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		id := ctx.Operation().OperationID
		o, u := operations[id], asUse(ctx.Context().Value(keyUse))
		u.act = o.scope != access.Read
		if o.scope == "" {
			s.log.Error("operation without a scope", "operation", id)
			_ = huma.WriteErr(api, ctx, http.StatusForbidden, "nobody may do this: it declares no scope")
			return
		}
		if !access.Allows(u.token, o.scope) {
			_ = huma.WriteErr(api, ctx, http.StatusForbidden, "the token "+u.token.Name+" lacks the scope "+string(o.scope))
			return
		}
		r, w := humago.Unwrap(ctx)
		if o.stream {
			r.Body = http.MaxBytesReader(w, r.Body, s.MaxUpload)
		} else {
			// One more than declared: huma then says that it is too much.
			r.Body = http.MaxBytesReader(w, r.Body, o.limit()+1)
		}
		next(ctx)
	}
}
