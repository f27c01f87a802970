package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchproof/patchproof/agent/config"
	"github.com/patchproof/patchproof/agent/identity"
	"github.com/patchproof/patchproof/agent/publish"
	"github.com/patchproof/patchproof/agent/spool"
	"github.com/patchproof/patchproof/schema"
)

// statusDocument is what `status -o json` prints.
type statusDocument struct {
	Fingerprint  string `json:"fingerprint"`
	KeyID        string `json:"key_id"`
	TransportKey string `json:"transport_key"`
	StateDir     string `json:"state_dir"`
	Server       string `json:"server"`
	// Machine is what the keys are bound to, since BoundAt.
	Machine *schema.Machine `json:"machine,omitempty"`
	BoundAt *time.Time      `json:"bound_at,omitempty"`
	// Archived is where the identities of other machines are kept.
	Archived []string `json:"archived,omitempty"`
	// ReceiptKey is the pinned key, empty when none is.
	ReceiptKey string      `json:"receipt_key"`
	Spool      spoolStatus `json:"spool"`
	// Connection is as the last sender left it, nil when none ever ran.
	Connection *connectionStatus `json:"connection,omitempty"`
}

type connectionStatus struct {
	publish.State
	// Running: the sender that wrote this is still there. What it wrote is only
	// the past when it is not.
	Running bool `json:"running"`
}

type spoolStatus struct {
	Waiting      int             `json:"waiting"`
	WaitingBytes int64           `json:"waiting_bytes"`
	LastSealed   *spool.Sealed   `json:"last_sealed"`
	LastReceipt  *schema.Receipt `json:"last_receipt"`
	LastRejected *schema.Receipt `json:"last_rejected"`
	Counts       spool.Counts    `json:"counts"`
	WantsReport  bool            `json:"wants_report"`
	KeptRejected int             `json:"kept_rejected"`
	KeptCorrupt  int             `json:"kept_corrupt"`
	Fault        string          `json:"fault,omitempty"`
}

func (c *command) status() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Print the key fingerprint, and what waits, was receipted, rejected or dropped",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return c.printStatus(cmd) },
	}
	output(cmd)
	return setting(cmd, "state-dir")
}

func (c *command) printStatus(cmd *cobra.Command) error {
	format, err := outputOf(cmd)
	if err != nil {
		return err
	}
	settings, err := c.settings(cmd)
	if err != nil {
		return err
	}
	id, err := identity.Load(settings.StateDir)
	if errors.Is(err, identity.ErrNone) {
		return &hinted{err, "the keys are made when `patchproof-agent run`, `collect`, `send` or `once` first starts"}
	}
	if err != nil {
		return err
	}
	kept, err := spool.Read(filepath.Join(settings.StateDir, spoolDir))
	if err != nil && !errors.Is(err, spool.ErrNone) {
		return err
	}
	archived, err := id.Archives()
	if err != nil {
		return err
	}
	road, err := readRoad(settings.StateDir)
	if err != nil {
		return fmt.Errorf("read the road's state: %w", err)
	}
	doc := describe(settings, id, archived, kept)
	if road != nil {
		doc.Connection = &connectionStatus{State: road.State, Running: alive(road.PID)}
	}
	if format == formatJSON {
		return printJSON(c.stdout, doc)
	}
	if _, err := fmt.Fprint(c.stdout, statusText(doc)); err != nil {
		return err
	}
	c.adviseOn(doc, id)
	return nil
}

func describe(settings config.Config, id *identity.Identity, archived []string, st spool.Status) statusDocument {
	d := statusDocument{
		Fingerprint: id.Fingerprint(), KeyID: id.KeyID(), TransportKey: id.TransportKey,
		StateDir: settings.StateDir, Server: settings.Server, ReceiptKey: settings.ReceiptKey,
		Spool: spoolStatus{
			Waiting: st.Waiting, WaitingBytes: st.WaitingBytes, LastSealed: st.LastSealed,
			LastReceipt: st.LastAccepted, LastRejected: st.LastRejected, Counts: st.Counts,
			WantsReport: st.WantsReport, KeptRejected: st.Rejected, KeptCorrupt: st.Corrupt, Fault: st.Fault,
		},
		Archived: archived,
	}
	if b := id.Binding; !b.BoundAt.IsZero() {
		d.Machine, d.BoundAt = &b.Machine, &b.BoundAt
	}
	return d
}

func statusText(d statusDocument) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-15s %s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	line("fingerprint", "%s", d.Fingerprint)
	line("key id", "%s", d.KeyID)
	line("transport key", "%s", d.TransportKey)
	if d.Machine == nil {
		line("machine", "bound at the next start")
	} else {
		line("machine", "%s", d.Machine)
	}
	for _, place := range d.Archived {
		line("archived", "%s", place)
	}
	line("state dir", "%s", d.StateDir)
	line("server", "%s", d.Server)
	line("receipt key", "%s", firstOf(d.ReceiptKey, "none pinned"))
	d.Connection.lines(line)
	s := d.Spool
	line("waiting", "%s, %d bytes", plural(s.Waiting, "report"), s.WaitingBytes)
	if s.LastSealed == nil {
		line("last sealed", "never")
	} else {
		line("last sealed", "report %d, collected %s", s.LastSealed.Sequence, s.LastSealed.CollectedAt.Format(time.RFC3339))
	}
	if r := s.LastReceipt; r == nil {
		line("last receipt", "never")
	} else {
		line("last receipt", "report %d at %s, leaf %d of %s", r.Sequence, r.ReceivedAt.Format(time.RFC3339), r.LeafIndex, r.LogOrigin)
	}
	if r := s.LastRejected; r == nil {
		line("last rejection", "never")
	} else {
		line("last rejection", "report %.16s at %s: %s", r.ReportID, r.ReceivedAt.Format(time.RFC3339),
			strings.TrimSuffix(r.Reason+": "+r.Detail, ": "))
	}
	c := s.Counts
	line("in all", "%d sealed, %d receipted, %d rejected, %d dropped, %d damaged, %d jumps",
		c.Sealed, c.Accepted, c.Rejected, c.Dropped, c.Corrupt, c.Jumps)
	line("kept aside", "%d rejected, %d damaged", s.KeptRejected, s.KeptCorrupt)
	if s.Fault != "" {
		line("fault", "%s", s.Fault)
	}
	return b.String()
}

// lines tells of the connection: how it is, until when the claims hold, and what
// went wrong last.
func (c *connectionStatus) lines(line func(name, format string, args ...any)) {
	if c == nil {
		line("connection", "no sender has run yet")
		return
	}
	switch {
	case !c.Running:
		line("connection", "no sender runs")
	case c.Connected:
		line("connection", "up since %s, %s", c.Since.UTC().Format(time.RFC3339), c.Server)
	default:
		line("connection", "down since %s", c.Since.UTC().Format(time.RFC3339))
	}
	if !c.ClaimsExpire.IsZero() {
		line("claims", "until %s", c.ClaimsExpire.UTC().Format(time.RFC3339))
	}
	if c.Error != "" {
		line("last error", "%s: %s", c.ErrorAt.UTC().Format(time.RFC3339), c.Error)
	}
}

// adviseOn says what a person can do about what the status shows.
func (c *command) adviseOn(d statusDocument, id *identity.Identity) {
	s := d.Spool
	if d.ReceiptKey == "" {
		c.say("warning: no receipt key is pinned, nothing can be sent")
		c.hint("set receipt_key to what `patchproof key show` prints on the collector")
	}
	if r := d.Connection; r != nil && r.Running && !r.Connected {
		c.say("warning: the broker is away: %s", printable(r.Error))
		c.hint(roadHint(r.Error))
	}
	if s.Fault != "" {
		c.say("warning: the spool's %s", s.Fault)
		c.hint("the next start of the agent makes a new one and says so in its next report")
	}
	if s.Counts.Dropped > 0 {
		c.say("warning: %s dropped unreceipted because the spool was full", plural(int(s.Counts.Dropped), "report"))
	}
	if r := s.LastRejected; r != nil && (s.LastReceipt == nil || r.ReceivedAt.After(s.LastReceipt.ReceivedAt)) {
		c.say("warning: the collector's last answer was a rejection: %s", r.Reason)
		c.hint(rejectionHint(id, r.Reason))
	}
}
