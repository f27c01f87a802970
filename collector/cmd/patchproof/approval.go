package main

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/client"
	"github.com/patchproof/patchproof/collector/query"
)

func newApprovalCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "approval", Short: "what would move deadlines later, and waits for somebody else"}
	cmd.AddCommand(newApprovalListCommand(), newDecisionCommand(true), newDecisionCommand(false))
	return cmd
}

func newApprovalListCommand() *cobra.Command {
	q := answers[api.ApprovalList]{
		what: "list approvals",
		ask: func(ctx context.Context, c *client.Client, _ []string) (api.ApprovalList, error) {
			return c.Approvals(ctx)
		},
		about: func(l *api.ApprovalList) query.Meta { return query.Meta{AsOf: l.AsOf, Count: l.Count} },
		table: approvalTable,
		items: func(l *api.ApprovalList) iter.Seq[any] { return each(l.Approvals) },
	}
	return q.command(&cobra.Command{Use: "list", Short: "list requests, pending ones first", Args: cobra.NoArgs})
}

func approvalTable(l *api.ApprovalList) *table {
	t := &table{wrapLast: true, columns: []column{
		{head: "ID"},
		{head: "STATE"},
		{head: "ASKED BY"},
		{head: "ASKED", drop: 2},
		{head: "DECIDED BY", drop: 1},
		{head: "CAUSE", drop: 3},
		{head: "SUBJECT", drop: 4},
		{head: "WHAT", min: 14},
	}}
	for i := range l.Approvals {
		a := &l.Approvals[i]
		t.add(a.ID, a.State, dash(a.RequestedBy), stamp(a.RequestedAt), dash(a.DecidedBy), a.Cause, a.Subject, a.What)
	}
	return t
}

func newDecisionCommand(grant bool) *cobra.Command {
	verb, done := "deny", "denied"
	if grant {
		verb, done = "grant", "granted"
	}
	var reason string
	cmd := &cobra.Command{Use: verb + " ID --reason TEXT", Short: verb + " what somebody else asked for", Args: cobra.ExactArgs(1)}
	conn := connectFlags(cmd)
	out := outputFlag(cmd, "table", "json")
	cmd.Flags().StringVar(&reason, "reason", "", "why; it is kept as evidence")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if reason == "" {
			return usage(errors.New("say why: --reason TEXT"))
		}
		c, err := conn.client()
		if err != nil {
			return err
		}
		a, err := c.DecideApproval(cmd.Context(), args[0], grant, reason)
		if err != nil {
			return fmt.Errorf("%s approval: %w", verb, err)
		}
		if *out == "json" {
			return printJSON(cmd.OutOrStdout(), a)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %s\n", clean(a.ID), done, clean(a.What))
		return nil
	}
	return cmd
}
