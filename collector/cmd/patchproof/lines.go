package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/client"
	"github.com/patchproof/patchproof/collector/query"
)

func newHostLinesCommand() *cobra.Command {
	q := answers[query.LineList]{
		what: "show lines",
		ask: func(ctx context.Context, c *client.Client, args []string) (query.LineList, error) {
			return c.Lines(ctx, args[0])
		},
		about: func(l *query.LineList) query.Meta { return l.Meta },
		table: lineTable,
		items: func(l *query.LineList) iter.Seq[any] { return each(l.Lines) },
		talk:  lineTalk,
	}
	return q.command(&cobra.Command{
		Use: "lines HOST", Short: "whether two hosts speak with one key, and what each line of reports shows", Args: cobra.ExactArgs(1),
		Long: `How the reports of a host follow each other. A host seals one line. Several mean
that its key is in use twice (a copied machine or disk), or that it was set back
to an older state; until an operator says which is the host's, what any of them
shows counts.`,
	})
}

func lineTable(l *query.LineList) *table {
	t := &table{wrapLast: true, columns: []column{
		{head: "HEAD"}, {head: "SEQ", right: true}, {head: "RECEIVED", drop: 2}, {head: "OWN", right: true, drop: 1}, {head: "HOSTNAME", min: 6, drop: 3}, {head: "MACHINE", min: 16},
	}}
	for i := range l.Lines {
		line := &l.Lines[i]
		t.add(short(line.Head), strconv.FormatUint(line.Sequence, 10), stamp(line.ReceivedAt), strconv.Itoa(line.Reports), dash(line.Hostname), line.Machine)
	}
	return t
}

func lineTalk(w io.Writer, l *query.LineList) {
	for _, d := range l.Decisions {
		fmt.Fprintf(w, "patchproof: %s kept %s on %s: %s\n", clean(d.By), short(d.Keep), stamp(d.At), clean(d.Reason))
	}
	if l.Aside > 0 {
		fmt.Fprintf(w, "patchproof: %s set aside\n", plural(l.Aside, "report"))
	}
	if !l.Suspect {
		fmt.Fprintln(w, "patchproof: nothing says that two hosts speak with this host's key")
		return
	}
	for _, why := range l.Why {
		fmt.Fprintf(w, "patchproof: suspicious: %s\n", clean(why))
	}
	fmt.Fprintf(w, "patchproof: hint: find out on the machines which is the host, then: patchproof host clear-clone %s --keep HEAD --reason TEXT\n", clean(l.Name))
}

func newClearCloneCommand() *cobra.Command {
	var r api.ClearRequest
	cmd := &cobra.Command{
		Use: "clear-clone HOST --keep REPORT --reason TEXT", Short: "say which line of reports is the host's", Args: cobra.ExactArgs(1),
		Long: `Say which line of reports is the host's. REPORT is one of 'patchproof host lines',
or the beginning of its id. The other lines stay on record and no longer count;
a report that continues one raises the suspicion again. It needs the scope approve,
because findings that only another line showed may end.`,
	}
	conn := connectFlags(cmd)
	out := outputFlag(cmd, "table", "json")
	cmd.Flags().StringVar(&r.Keep, "keep", "", "a report of the line that is the host's")
	cmd.Flags().StringVar(&r.Reason, "reason", "", "why; it is kept as evidence")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case r.Keep == "":
			return usage(errors.New("say which line is the host's: --keep REPORT"))
		case strings.TrimSpace(r.Reason) == "":
			return usage(errors.New("say why: --reason TEXT"))
		}
		c, err := conn.client()
		if err != nil {
			return err
		}
		res, err := c.ClearClone(cmd.Context(), args[0], r)
		if err != nil {
			return err // the collector itself says what it is about
		}
		if *out == "json" {
			return printJSON(cmd.OutOrStdout(), res)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "kept the line of %s, %s; %s set aside\n", short(res.Keep), plural(res.Kept, "report"), plural(res.Aside, "report"))
		return err
	}
	return cmd
}
