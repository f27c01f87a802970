package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/client"
	"github.com/patchproof/patchproof/collector/query"
)

func newTokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "who may ask and do what over the API"}
	cmd.AddCommand(newTokenCreateCommand(), newTokenListCommand(), newTokenRevokeCommand())
	return cmd
}

func newTokenCreateCommand() *cobra.Command {
	var r api.TokenRequest
	var ttl, file string
	cmd := &cobra.Command{
		Use:   "create NAME --scope SCOPE...",
		Short: "make a token, and print its secret this once",
		Long: `Make a named token. Its secret is printed once, or written to a file that only you
can read; the collector keeps a hash of it.

  read      ask questions
  operate   trust hosts, import feeds
  approve   grant what somebody else asked for
  admin     everything, tokens and the policy among it`,
		Args: cobra.ExactArgs(1),
	}
	conn := connectFlags(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&r.Scopes, "scope", nil, "what it may do: read, operate, approve, admin; several with commas")
	f.StringVar(&ttl, "ttl", "", "how long it lives, such as 90d, 12h or 30m; without end when not given")
	f.StringVar(&file, "out", "", "write the secret to this new file (0600) instead of standard output")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r.Name = args[0]
		if len(r.Scopes) == 0 {
			return usage(errors.New("say what it may do: --scope read, operate, approve or admin"))
		}
		life, err := parseLife(ttl)
		if err != nil {
			return usage(err)
		}
		r.TTLSeconds = int64(life / time.Second)
		c, err := conn.client()
		if err != nil {
			return err
		}
		out, done, err := secretFile(file, cmd.OutOrStdout())
		if err != nil {
			return err
		}
		t, err := c.CreateToken(cmd.Context(), r)
		if err != nil {
			return errors.Join(fmt.Errorf("create token: %w", err), done(false))
		}
		if _, err := fmt.Fprintln(out, t.Secret); err != nil {
			return withHint(errors.Join(fmt.Errorf("write the secret of token %s: %w", t.Name, err), done(false)),
				"the token is made and nobody has its secret: 'patchproof token revoke "+t.Name+"'")
		}
		if err := done(true); err != nil {
			return withHint(fmt.Errorf("write the secret of token %s: %w", t.Name, err),
				"the token is made: 'patchproof token revoke "+t.Name+"' if the file does not hold its secret")
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "patchproof: token %s may %s, %s\n", clean(t.Name), strings.Join(t.Scopes, ", "), until(t.ExpiresAt))
		return nil
	}
	return cmd
}

func until(t time.Time) string {
	if t.IsZero() {
		return "without end"
	}
	return "until " + stamp(t)
}

// secretFile opens where a secret goes before there is one, so that none is made
// that cannot be kept. done closes it, and takes it away when nothing came of it.
func secretFile(path string, stdout io.Writer) (w io.Writer, done func(keep bool) error, err error) {
	if path == "" {
		return stdout, func(bool) error { return nil }, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, withHint(fmt.Errorf("make the secret's file: %w", err), "name a file that is not there yet")
	}
	return f, func(keep bool) error {
		if !keep {
			return errors.Join(f.Close(), os.Remove(path))
		}
		return errors.Join(f.Sync(), f.Close())
	}, nil
}

// parseLife reads 90d, 12h or 30m; nothing is no end.
func parseLife(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	wrong := fmt.Errorf("--ttl %q: write how long as 90d, 12h or 30m", s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil || n == 0 {
			return 0, wrong
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second {
		return 0, wrong
	}
	return d, nil
}

func newTokenListCommand() *cobra.Command {
	q := answers[api.TokenList]{
		what:  "list tokens",
		ask:   func(ctx context.Context, c *client.Client, _ []string) (api.TokenList, error) { return c.Tokens(ctx) },
		about: func(l *api.TokenList) query.Meta { return query.Meta{AsOf: l.AsOf, Count: l.Count} },
		table: tokenTable,
		items: func(l *api.TokenList) iter.Seq[any] { return each(l.Tokens) },
	}
	return q.command(&cobra.Command{Use: "list", Short: "list tokens, those that have ended too", Args: cobra.NoArgs})
}

func tokenTable(l *api.TokenList) *table {
	t := &table{columns: []column{
		{head: "NAME", min: 8},
		{head: "STATE"},
		{head: "SCOPES"},
		{head: "EXPIRES"},
		{head: "LAST USED", drop: 1},
		{head: "CREATED", drop: 3},
		{head: "BY", min: 5, drop: 4},
		{head: "REVOKED", drop: 2},
	}}
	for i := range l.Tokens {
		k := &l.Tokens[i]
		t.add(k.Name, k.State, strings.Join(k.Scopes, " "), dash(stamp(k.ExpiresAt)), dash(stamp(k.LastUsed)),
			stamp(k.CreatedAt), dash(k.CreatedBy), dash(stamp(k.RevokedAt)))
	}
	return t
}

func newTokenRevokeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "revoke NAME", Short: "end a token for good", Args: cobra.ExactArgs(1)}
	conn := connectFlags(cmd)
	out := outputFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := conn.client()
		if err != nil {
			return err
		}
		t, err := c.RevokeToken(cmd.Context(), args[0])
		if err != nil {
			return fmt.Errorf("revoke token: %w", err)
		}
		if *out == "json" {
			return printJSON(cmd.OutOrStdout(), t)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "token %s revoked\n", clean(t.Name))
		return nil
	}
	return cmd
}
