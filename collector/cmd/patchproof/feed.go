package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/client"
	"github.com/patchproof/patchproof/collector/feed"
	"github.com/patchproof/patchproof/collector/query"
)

func newFeedCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "feed", Short: "what publishers say: import it, see how fresh it is"}
	cmd.AddCommand(newFeedImportCommand(), newFeedStatusCommand())
	return cmd
}

func newFeedImportCommand() *cobra.Command {
	var confirm bool
	cmd := &cobra.Command{
		Use:   "import PATH...",
		Short: "import publishers' documents: applied whole, or held with the reason",
		Long: `Import publishers' documents. What a file is follows from its bytes:
  ` + strings.ReplaceAll(feed.Expected, "; ", ";\n  ") + `.

An archive or directory is a snapshot: the whole feed. One that is empty, has
shrunk, or drops a vulnerability that some finding has, is held; look into it, and
import it again with --confirm. Exit status 3 says that something was held.`,
		Args: cobra.MinimumNArgs(1),
	}
	conn := connectFlags(cmd)
	out := outputFlag(cmd, "table", "json")
	cmd.Flags().BoolVar(&confirm, "confirm", false, "apply a snapshot that was held")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := conn.client()
		if err != nil {
			return err
		}
		var docs []feed.Document
		for _, path := range args {
			more, err := feed.Documents(path)
			if err != nil {
				return err
			}
			docs = append(docs, more...)
		}
		all := api.ImportResult{Outcomes: []api.ImportOutcome{}}
		var failed error
		for _, d := range docs {
			res, err := upload(cmd.Context(), c, d, confirm, cmd.ErrOrStderr())
			if err != nil {
				failed = fmt.Errorf("import %s: %w", d.Name, err)
				break
			}
			all.Outcomes = append(all.Outcomes, res.Outcomes...)
		}
		if *out == "json" {
			err = printJSON(cmd.OutOrStdout(), all)
		} else if len(all.Outcomes) > 0 {
			importTable(all.Outcomes).print(cmd.OutOrStdout())
		}
		if failed != nil {
			return failed
		}
		if err != nil {
			return err
		}
		return heldError(all.Outcomes)
	}
	return cmd
}

// upload sends one document, with progress when it takes long and someone watches.
func upload(ctx context.Context, c *client.Client, d feed.Document, confirm bool, talk io.Writer) (api.ImportResult, error) {
	body, err := d.Open()
	if err != nil {
		return api.ImportResult{}, err
	}
	defer func() { _ = body.Close() }()
	if terminalWidth(talk) == 0 {
		return c.ImportFeed(ctx, d.Name, body, confirm)
	}
	bar := progressbar.NewOptions64(sizeOf(d.Name),
		progressbar.OptionSetWriter(talk), progressbar.OptionSetDescription("patchproof: sending "+clean(d.Name)),
		progressbar.OptionShowBytes(true), progressbar.OptionThrottle(200*time.Millisecond),
		progressbar.OptionClearOnFinish(), progressbar.OptionSpinnerType(14))
	read := progressbar.NewReader(body, bar)
	res, err := c.ImportFeed(ctx, d.Name, &read, confirm)
	_ = bar.Finish()
	return res, err
}

// sizeOf is a file's size, -1 for what is packed on its way.
func sizeOf(path string) int64 {
	st, err := os.Stat(path)
	if err != nil || st.IsDir() {
		return -1
	}
	return st.Size()
}

func importTable(os []api.ImportOutcome) *table {
	t := &table{columns: []column{
		{head: "FEED", min: 14},
		{head: "OUTCOME", min: 9},
		{head: "ADDED", right: true},
		{head: "CHANGED", right: true},
		{head: "MISSING", right: true},
		{head: "ASSETS TO ASSESS", right: true},
		{head: "DIGEST", min: 12, drop: 1},
	}}
	for i := range os {
		o := &os[i]
		word := "applied"
		switch {
		case o.Held:
			word = "HELD: " + o.Reason
		case o.Unchanged:
			word = "unchanged"
		}
		t.add(o.Feed, word, fmt.Sprint(o.Added), fmt.Sprint(o.Changed), fmt.Sprint(o.Missing), fmt.Sprint(o.Assets), short(o.Digest))
	}
	return t
}

// heldError makes a held snapshot visible to scripts.
func heldError(os []api.ImportOutcome) error {
	for i := range os {
		if os[i].Held {
			return &statusError{
				code: exitPolicy,
				err:  fmt.Errorf("snapshot of %s held: %s", os[i].Feed, os[i].Reason),
				hint: "when the publisher confirms it, import it again with --confirm",
			}
		}
	}
	return nil
}

func newFeedStatusCommand() *cobra.Command {
	q := answers[api.FeedList]{
		what:  "read feed status",
		ask:   func(ctx context.Context, c *client.Client, _ []string) (api.FeedList, error) { return c.Feeds(ctx) },
		about: func(l *api.FeedList) query.Meta { return query.Meta{AsOf: l.AsOf, Count: len(l.Feeds), Feeds: l.Feeds} },
		table: func(l *api.FeedList) *table { return feedTable(l.Feeds, l.AsOf) },
		items: func(l *api.FeedList) iter.Seq[any] { return each(l.Feeds) },
		talk: func(w io.Writer, l *api.FeedList) {
			if len(l.Feeds) == 0 {
				fmt.Fprintln(w, "patchproof: no feed was ever imported; every asset is uncovered")
				fmt.Fprintln(w, "patchproof: hint: patchproof feed import PATH...")
			}
		},
	}
	return q.command(&cobra.Command{Use: "status", Short: "age, counts, digests and coverage of every feed", Args: cobra.NoArgs})
}
