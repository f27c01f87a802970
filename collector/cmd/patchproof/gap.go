package main

import (
	"context"
	"io"
	"iter"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/client"
	"github.com/patchproof/patchproof/collector/query"
)

func newGapCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "gap", Short: "what could not be read or told"}
	q := answers[query.GapList]{
		past:  true,
		what:  "list gaps",
		ask:   func(ctx context.Context, c *client.Client, _ []string) (query.GapList, error) { return c.Gaps(ctx) },
		about: func(l *query.GapList) query.Meta { return l.Meta },
		table: assetGapTable,
		items: func(l *query.GapList) iter.Seq[any] { return each(l.Gaps) },
		talk:  func(w io.Writer, l *query.GapList) { footer(w, l.Meta, "gap") },
	}
	cmd.AddCommand(q.command(&cobra.Command{Use: "list", Short: "list every asset's gaps, by extractor", Args: cobra.NoArgs}))
	return cmd
}

func assetGapTable(l *query.GapList) *table {
	t := &table{columns: []column{
		{head: "EXTRACTOR"},
		{head: "ASSET", min: 8},
		{head: "KIND"},
		{head: "PATH", min: 10, drop: 1},
		{head: "LAST REPORT", drop: 2},
		{head: "DETAIL", min: 20},
	}, wrapLast: true}
	for i := range l.Gaps {
		g := &l.Gaps[i]
		t.add(g.Extractor, g.Name, g.Kind, dash(g.Path), dash(stamp(g.LastReport)), g.Detail)
	}
	return t
}
