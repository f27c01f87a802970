package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/agent"
	"github.com/patchproof/patchproof/agent/config"
	"github.com/patchproof/patchproof/agent/identity"
	"github.com/patchproof/patchproof/agent/publish"
	"github.com/patchproof/patchproof/agent/scan"
	"github.com/patchproof/patchproof/agent/spool"
	"github.com/patchproof/patchproof/schema"
)

// Names in the state directory beside the keys.
const (
	spoolDir = "spool"
	cacheDir = "cache"
)

func (c *command) collect() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "collect",
		Short: "Scan, sign and spool a report now and at every interval; send nothing",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			level := slog.LevelInfo
			if once {
				level = slog.LevelWarn
			}
			return c.withAgent(cmd.Context(), cmd, level, []identity.Role{identity.Collector}, func(ctx context.Context, a *agent.Agent) error {
				if !once {
					return a.Collect(ctx)
				}
				entry, err := a.CollectOnce(ctx)
				if err == nil {
					c.say("report %d is sealed and waits in the spool: %s", entry.Sequence, entry.ID)
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "make one report and end")
	return setting(cmd, "state-dir", "interval", "labels")
}

func (c *command) send() *cobra.Command {
	return setting(&cobra.Command{
		Use:   "send",
		Short: "Send what waits in the spool until it is receipted; scan nothing",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withAgent(cmd.Context(), cmd, slog.LevelInfo, []identity.Role{identity.Sender}, func(ctx context.Context, a *agent.Agent) error {
				return a.Send(ctx)
			})
		},
	}, "state-dir", "server", "receipt-key")
}

func (c *command) runBoth() *cobra.Command {
	return setting(&cobra.Command{
		Use:   "run",
		Short: "Collect and send until stopped; this is what the service runs",
		Long: `Collect and send until stopped; this is what the service runs. On a host that no
network reaches (export.dir is set) it collects, writes a bundle to that directory
by schedule, and sends nothing.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runLoops(cmd.Context(), cmd) },
	}, "state-dir", "server", "receipt-key", "interval", "labels")
}

func (c *command) runLoops(ctx context.Context, cmd *cobra.Command) error {
	return c.withAgent(ctx, cmd, slog.LevelInfo, []identity.Role{identity.Collector, identity.Sender},
		func(ctx context.Context, a *agent.Agent) error {
			if !a.Offline {
				return a.Run(ctx)
			}
			settings, err := c.settings(cmd)
			if err != nil {
				return err
			}
			w, err := exporter(settings, a.Identity)
			if err != nil {
				return err
			}
			return a.RunOffline(ctx, agent.Offline{Writer: w, Dir: settings.Export.Dir, Every: settings.Export.Interval})
		})
}

func (c *command) once() *cobra.Command {
	timeout := time.Minute
	cmd := &cobra.Command{
		Use:   "once",
		Short: "Make one report, send it, and end when the collector has receipted it",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withAgent(cmd.Context(), cmd, slog.LevelWarn, []identity.Role{identity.Collector, identity.Sender},
				func(ctx context.Context, a *agent.Agent) error { return c.runOnce(ctx, a, timeout) })
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "how long to wait for the receipt")
	return setting(cmd, "state-dir", "server", "receipt-key", "labels")
}

func (c *command) runOnce(ctx context.Context, a *agent.Agent, timeout time.Duration) error {
	if len(a.ReceiptKey) == 0 {
		return agent.ErrNoReceiptKey
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	receipt, err := a.Once(ctx)
	if un, ok := errors.AsType[*agent.Unreceipted](err); ok {
		hint := "see `patchproof-agent status`; the report is sent again by `patchproof-agent run` or `send`"
		if un.Receipt != nil {
			hint = rejectionHint(a.Identity, un.Receipt.Reason)
		}
		return &hinted{err, hint}
	}
	if err != nil {
		return err
	}
	c.say("report %d is on record: leaf %d of %s", receipt.Sequence, receipt.LeafIndex, receipt.LogOrigin)
	return nil
}

// withAgent wires an agent for the roles and gives it to work.
func (c *command) withAgent(
	ctx context.Context, cmd *cobra.Command, level slog.Level, roles []identity.Role, work func(context.Context, *agent.Agent) error,
) error {
	settings, err := c.settings(cmd)
	if err != nil {
		return err
	}
	log := c.logger(level)
	id, err := openIdentity(ctx, settings, log)
	if err != nil {
		return err
	}
	for _, role := range roles {
		held, err := identity.Hold(settings.StateDir, role)
		if err != nil {
			return err
		}
		defer func(held io.Closer) { _ = held.Close() }(held)
	}
	a, err := wire(settings, id, log)
	if err != nil {
		return err
	}
	log.Info("agent started", "version", buildVersion(), "fingerprint", id.Fingerprint(), "state_dir", settings.StateDir)
	defer log.Info("agent stopped")
	return work(ctx, a)
}

// openIdentity opens this machine's keys. Those of another machine, from which
// this one was made, are archived, and this one must be trusted anew.
func openIdentity(ctx context.Context, settings config.Config, log *slog.Logger) (*identity.Identity, error) {
	here, gaps, err := scan.Machine(ctx, scanOptions(settings, "/", ""))
	if err != nil {
		return nil, fmt.Errorf("tell which machine this is: %w", err)
	}
	for _, g := range gaps { // reports bear them too
		log.Debug("fact of the machine unreadable", "path", g.Path, "err", g.Detail)
	}
	id, err := identity.Open(settings.StateDir, here, time.Now())
	if err == nil && id.Archived != "" {
		log.Warn("another machine's keys archived, new keys made", "archive", id.Archived, "machine", here.String(), "fingerprint", id.Fingerprint())
	}
	return id, err
}

func wire(settings config.Config, id *identity.Identity, log *slog.Logger) (*agent.Agent, error) {
	cache := filepath.Join(settings.StateDir, cacheDir)
	if err := os.Mkdir(cache, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make cache: %w", err)
	}
	pinned, err := settings.PinnedKey()
	if err != nil {
		return nil, err
	}
	kept, err := spool.Open(filepath.Join(settings.StateDir, spoolDir), id.Public(),
		spool.Limits{Bytes: settings.Spool.MaxBytes, Reports: settings.Spool.MaxReports})
	if err != nil {
		return nil, err
	}
	authority, err := settings.Authority()
	if err != nil {
		return nil, err
	}
	road, err := publish.New(publish.Options{
		Server: settings.Server, Authority: authority, Transport: id.Transport, Claims: id.Claims,
		Window: settings.Reconnect, Changed: keepRoad(settings.StateDir, log), Now: time.Now, Log: log,
	})
	if err != nil {
		return nil, err
	}
	options := scanOptions(settings, "/", cache)
	return agent.New(agent.Options{
		Identity: id, Spool: kept, Road: road, ReceiptKey: pinned,
		Scan: func(ctx context.Context) (*schema.Report, error) {
			report, _, err := scan.Run(ctx, options)
			return report, err
		},
		Offline:  settings.Export.Dir != "",
		Interval: settings.Interval, Resend: settings.Resend, Now: time.Now, Log: log,
	}), nil
}

func scanOptions(settings config.Config, root, cache string) scan.Options {
	return scan.Options{
		Root: root, Cache: cache, Labels: settings.Labels, AgentVersion: buildVersion(),
		IMDS: !settings.IMDS.Disabled && settings.Export.Dir == "", IMDSEndpoint: settings.IMDS.Endpoint, Now: time.Now,
	}
}
