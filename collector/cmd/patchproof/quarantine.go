package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/client"
	"github.com/patchproof/patchproof/collector/query"
)

func newQuarantineCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "quarantine", Short: "what the door refused"}
	q := answers[api.QuarantineList]{
		what: "list quarantine",
		ask: func(ctx context.Context, c *client.Client, _ []string) (api.QuarantineList, error) {
			return c.Quarantine(ctx)
		},
		about: func(l *api.QuarantineList) query.Meta { return query.Meta{AsOf: l.AsOf, Count: l.Count} },
		table: quarantineTable,
		items: func(l *api.QuarantineList) iter.Seq[any] { return each(l.Envelopes) },
		talk: func(w io.Writer, l *api.QuarantineList) {
			fmt.Fprintf(w, "patchproof: %s refused as of %s\n", plural(l.Count, "envelope"), stamp(l.AsOf))
		},
	}
	cmd.AddCommand(q.command(&cobra.Command{Use: "list", Short: "list refused envelopes with the reasons", Args: cobra.NoArgs}))
	show := answers[api.QuarantineDetail]{
		what: "show quarantined envelope",
		ask: func(ctx context.Context, c *client.Client, args []string) (api.QuarantineDetail, error) {
			return c.Quarantined(ctx, args[0])
		},
		show: printQuarantined,
	}
	cmd.AddCommand(show.command(&cobra.Command{Use: "show DIGEST", Short: "one refused envelope; -o json has its bytes", Args: cobra.ExactArgs(1)}))
	return cmd
}

func printQuarantined(w io.Writer, d *api.QuarantineDetail) {
	for _, r := range [][2]string{
		{"digest", d.Digest},
		{"reason", d.Reason},
		{"detail", dash(d.Detail)},
		{"key", dash(d.Key)},
		{"road", d.Road},
		{"seen", fmt.Sprintf("%s, first %s, last %s", plural(int(d.Count), "time"), stamp(d.FirstAt), stamp(d.LastAt))},
		{"size", plural(d.Size, "byte")},
	} {
		fmt.Fprintf(w, "%-8s %s\n", r[0], clean(r[1]))
	}
}

func quarantineTable(l *api.QuarantineList) *table {
	t := &table{columns: []column{
		{head: "LAST"},
		{head: "REASON"},
		{head: "COUNT", right: true},
		{head: "ROAD", drop: 3},
		{head: "KEY", min: 12, drop: 1},
		{head: "DIGEST", min: 12, drop: 2},
		{head: "DETAIL", min: 20},
	}, wrapLast: true}
	for i := range l.Envelopes {
		e := &l.Envelopes[i]
		t.add(stamp(e.LastAt), e.Reason, strconv.FormatInt(e.Count, 10), e.Road, dash(e.Key), e.Digest, e.Detail)
	}
	return t
}
