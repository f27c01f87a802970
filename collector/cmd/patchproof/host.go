package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/collector/api"
	"github.com/patchproof/patchproof/collector/client"
	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/collector/sla"
	"github.com/patchproof/patchproof/schema"
)

func newHostCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "host", Short: "whose reports are believed"}
	cmd.AddCommand(newHostListCommand(), newHostTrustCommand(), newHostLinesCommand(), newClearCloneCommand())
	return cmd
}

func newHostListCommand() *cobra.Command {
	q := answers[api.HostList]{
		what:  "list hosts",
		ask:   func(ctx context.Context, c *client.Client, _ []string) (api.HostList, error) { return c.Hosts(ctx) },
		about: func(l *api.HostList) query.Meta { return l.Meta },
		table: hostTable,
		items: func(l *api.HostList) iter.Seq[any] {
			return both(each(l.Pending), each(l.Assets))
		},
		talk: hostTalk,
	}
	return q.command(&cobra.Command{Use: "list", Short: "list trusted hosts, and keys that wait for trust", Args: cobra.NoArgs})
}

// hostTalk says what to do next.
func hostTalk(w io.Writer, l *api.HostList) {
	if len(l.Pending)+len(l.Assets) == 0 {
		fmt.Fprintln(w, "patchproof: no host has reported yet; start 'patchproof-agent run' on one")
	}
	for i := range l.Assets {
		if a := &l.Assets[i]; a.CloneSuspect {
			fmt.Fprintf(w, "patchproof: two hosts may be speaking with the key of %s: see 'patchproof host lines %s'\n", clean(a.Name), clean(a.ID))
		}
	}
	if len(l.Pending) > 0 {
		fmt.Fprintln(w, "patchproof: compare a waiting fingerprint with 'patchproof-agent status' on the host, then 'patchproof host trust FINGERPRINT'")
	}
}

func hostTable(l *api.HostList) *table {
	t := &table{columns: []column{
		{head: "TRUST"}, {head: "NAME", min: 5}, {head: "ASSET", drop: 3}, {head: "REPORTS", right: true, drop: 1}, {head: "LAST", drop: 2}, {head: "FINGERPRINT"},
	}}
	for _, p := range l.Pending {
		t.add("WAITS", "-", "-", strconv.FormatInt(p.Envelopes, 10), stamp(p.LastAt), p.Fingerprint)
	}
	for i := range l.Assets {
		a := &l.Assets[i]
		trust := "trusted"
		if a.CloneSuspect {
			trust = "CLONE?"
		}
		t.add(trust, a.Name, a.ID, strconv.FormatUint(a.Sequence, 10), dash(stamp(a.LastReport)), a.Fingerprint)
	}
	return t
}

func newHostTrustCommand() *cobra.Command {
	var r api.TrustRequest
	var class, exposure, environment string
	cmd := &cobra.Command{
		Use:   "trust FINGERPRINT",
		Short: "believe the host with this key fingerprint, and take in what it sent",
		Long: `Believe the host whose evidence key has this fingerprint. Compare it first with
what 'patchproof-agent status' prints on the host itself. Reports that waited in
quarantine are taken in at once.`,
		Args: cobra.ExactArgs(1),
	}
	conn := connectFlags(cmd)
	out := outputFlag(cmd, "table", "json")
	f := cmd.Flags()
	at := &r.Attributes
	f.StringVar(&r.Name, "name", "", "name of the asset; default: the host's own name")
	f.StringVar(&at.Account, "account", "", "cloud account")
	f.StringVar(&at.OU, "ou", "", "organizational unit")
	f.StringVar(&at.Region, "region", "", "region")
	f.StringVar(&at.Service, "service", "", "service it belongs to")
	f.StringVar(&at.Owner, "owner", "", "owning team")
	f.StringVar(&class, "class", "", "asset class: compute, appliance, image, workload, golden, code; compute when nobody says")
	f.StringVar(&exposure, "exposure", "unknown", "internet, internal or unknown (counts as internet)")
	f.StringVar(&environment, "environment", "unknown", "production, nonproduction, enduser or unknown (counts as production)")
	f.BoolVar(&at.Core, "core", false, "core infrastructure")
	f.BoolVar(&at.CrownJewel, "crown-jewel", false, "trading engine, wallet or signing")
	f.BoolVar(&at.ColdWallet, "cold-wallet", false, "cold wallet host")
	f.BoolVar(&at.HotWallet, "hot-wallet", false, "hot wallet host")
	f.StringVar(&at.DataSensitivity, "data-sensitivity", "", "high, medium or low")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		fp, err := schema.ParseFingerprint(args[0])
		if err != nil {
			return usage(fmt.Errorf("fingerprint: %w", err))
		}
		r.Fingerprint = fp
		at.Class, at.Exposure, at.Environment = sla.Class(class), sla.Exposure(exposure), sla.Environment(environment)
		if err := checkAttributes(class, exposure, environment, at.DataSensitivity); err != nil {
			return usage(err)
		}
		c, err := conn.client()
		if err != nil {
			return err
		}
		res, err := c.TrustHost(cmd.Context(), r)
		if err != nil {
			return err // the collector itself says that it is about trusting a host
		}
		if *out == "json" {
			return printJSON(cmd.OutOrStdout(), res)
		}
		printTrust(cmd.OutOrStdout(), &res)
		return nil
	}
	return cmd
}

func printTrust(w io.Writer, r *api.TrustResult) {
	fmt.Fprintf(w, "trusted %s as asset %s; %s taken in", clean(r.Name), r.Asset, plural(r.Replayed, "waiting report"))
	if r.Refused > 0 {
		fmt.Fprintf(w, ", %d refused (see patchproof quarantine list)", r.Refused)
	}
	fmt.Fprintln(w)
}

func checkAttributes(class, exposure, environment, sensitivity string) error {
	for _, c := range []struct {
		name, got string
		want      []string
	}{
		{"class", class, []string{"", "compute", "appliance", "image", "workload", "golden", "code"}},
		{"exposure", exposure, []string{"internet", "internal", "unknown"}},
		{"environment", environment, []string{"production", "nonproduction", "enduser", "unknown"}},
		{"data sensitivity", sensitivity, []string{"", "high", "medium", "low"}},
	} {
		if !slices.Contains(c.want, c.got) {
			return fmt.Errorf("%s %q: want %s", c.name, c.got, strings.TrimPrefix(strings.Join(c.want, ", "), ", "))
		}
	}
	return nil
}

func newKeyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "the collector's public keys"}
	q := answers[api.KeyInfo]{
		what: "show key",
		ask:  func(ctx context.Context, c *client.Client, _ []string) (api.KeyInfo, error) { return c.Key(ctx) },
		show: func(w io.Writer, k *api.KeyInfo) {
			fmt.Fprintf(w, "receipt_key: %s\n", k.ReceiptKey)
			if k.CASHA256 != "" {
				fmt.Fprintf(w, "ca_sha256: %s\n", clean(k.CASHA256))
			}
			fmt.Fprintf(w, "# fingerprint %s\n# evidence log %s\n", k.Fingerprint, clean(k.LogKey))
			fmt.Fprintf(w, "# for hosts that no network reaches, fingerprint %s:\nrecipient_key: %s\n", k.RecipientFingerprint, clean(k.RecipientKey))
		},
	}
	cmd.AddCommand(q.command(&cobra.Command{Use: "show", Short: "print the keys that agents are configured with", Args: cobra.NoArgs}))
	return cmd
}
