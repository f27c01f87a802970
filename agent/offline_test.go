package agent_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchproof/patchproof/agent"
	"github.com/patchproof/patchproof/agent/export"
	"github.com/patchproof/patchproof/schema"
	"github.com/patchproof/patchproof/schema/bundle"
	"github.com/patchproof/patchproof/schema/envelope"
)

// cold is a host that no network reaches, and the keys of its collector.
type cold struct {
	*host
	key       ed25519.PrivateKey
	recipient *bundle.RecipientKey
	writer    *export.Writer
	medium    string
}

func newCold(t *testing.T) *cold {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &cold{key: key, medium: t.TempDir()}
	if c.recipient, err = bundle.NewRecipientKey(); err != nil {
		t.Fatal(err)
	}
	c.host = newHost(t, nil, public(key), func(o *agent.Options) { o.Offline = true })
	c.writer = &export.Writer{Recipient: c.recipient.Recipient(), Key: c.Identity.Evidence, Agent: "test", Now: time.Now}
	return c
}

func (c *cold) collect(t *testing.T, n int) {
	t.Helper()
	for range n {
		if _, err := c.CollectOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// carried opens the one bundle of an export.
func (c *cold) carried(t *testing.T, out string) (*bundle.Opened, []*schema.Report) {
	t.Helper()
	files, err := c.Export(c.writer, out)
	if err != nil || len(files) != 1 {
		t.Fatalf("export: %v, %v", files, err)
	}
	raw, err := os.ReadFile(files[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := bundle.Open(raw, c.recipient)
	if err != nil {
		t.Fatal(err)
	}
	var reports []*schema.Report
	if err := opened.Check(func(_ bundle.Line, r *schema.Report) error {
		reports = append(reports, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if m := opened.Manifest; files[0].First != m.First || files[0].Last != m.Last || files[0].Envelopes != m.Count || m.Host != c.Identity.KeyID() {
		t.Errorf("export says %+v, the manifest %+v", files[0], m)
	}
	return opened, reports
}

// receipts answers some reports as a collector with the key does.
func receipts(t *testing.T, key ed25519.PrivateKey, lines []bundle.Line, reports []*schema.Report) []byte {
	t.Helper()
	var raws [][]byte
	for i, l := range lines {
		raw, err := envelope.SealReceipt(schema.Receipt{
			Kind: schema.ReceiptAccepted, ReportID: l.ID, Host: schema.KeyID(l.Key), Sequence: reports[i].Sequence,
			LogOrigin: "log", LeafIndex: int64(i), ReceivedAt: time.Now(),
		}, key)
		if err != nil {
			t.Fatal(err)
		}
		raws = append(raws, raw)
	}
	file, err := bundle.EncodeReturn(raws)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestOfflineHostTrimsOnReceiptsThatCameBack(t *testing.T) {
	c := newCold(t)
	c.collect(t, 3)
	opened, reports := c.carried(t, c.medium)
	if len(reports) != 3 || opened.Manifest.First != 1 || opened.Manifest.Last != 3 {
		t.Fatalf("carried %d reports, manifest %+v", len(reports), opened.Manifest)
	}
	if again, _ := c.carried(t, c.medium); again.Manifest.Count != 3 || c.waiting(t) != 3 {
		t.Error("an export let go of something")
	}
	done, err := c.ImportReceipts(receipts(t, c.key, opened.Lines[:2], reports))
	if err != nil || done.Accepted != 2 || done.Waiting != 1 || c.waiting(t) != 1 {
		t.Fatalf("import: %+v, %v; %d waiting", done, err, c.waiting(t))
	}
	if done, err = c.ImportReceipts(receipts(t, c.key, opened.Lines[:2], reports)); err != nil || done.Unknown != 2 || done.Waiting != 1 {
		t.Errorf("the same receipts again: %+v, %v", done, err)
	}
	c.collect(t, 1)
	if _, later := c.carried(t, c.medium); len(later) != 2 || later[0].Sequence != 3 || later[1].Sequence != 4 {
		t.Errorf("the next export carries %d reports", len(later))
	}
}

func TestOfflineReportsStandAloneAndProveTheirAge(t *testing.T) {
	c := newCold(t)
	c.collect(t, 1)
	opened, reports := c.carried(t, c.medium)
	if !reports[0].Offline || reports[0].LastReceipt != "" {
		t.Errorf("the first report: offline %v, last receipt %q", reports[0].Offline, reports[0].LastReceipt)
	}
	if _, err := c.ImportReceipts(receipts(t, c.key, opened.Lines, reports)); err != nil {
		t.Fatal(err)
	}
	c.collect(t, 1)
	_, next := c.carried(t, c.medium)
	if missing := next[0].Missing(); len(missing) > 0 {
		t.Errorf("parts %q go by digest, on a medium nobody may ever answer", missing)
	}
	r, err := envelope.OpenReceipt([]byte(next[0].LastReceipt), public(c.key))
	if err != nil || r.ReportID != opened.Lines[0].ID {
		t.Errorf("the receipt it carries: %+v, %v", r, err)
	}
}

func TestNothingIsTrimmedWithoutAVerifiedReceipt(t *testing.T) {
	c := newCold(t)
	c.collect(t, 2)
	opened, reports := c.carried(t, c.medium)
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	done, err := c.ImportReceipts(receipts(t, other, opened.Lines, reports))
	if err != nil || done.Refused != 2 || done.Accepted != 0 || c.waiting(t) != 2 {
		t.Errorf("receipts by another key: %+v, %v; %d waiting", done, err, c.waiting(t))
	}
	wrong := []*schema.Report{{Sequence: 2}, {Sequence: 1}}
	if done, err = c.ImportReceipts(receipts(t, c.key, opened.Lines, wrong)); err != nil || done.Refused != 2 || c.waiting(t) != 2 {
		t.Errorf("receipts for other sequences: %+v, %v", done, err)
	}
	good := receipts(t, c.key, opened.Lines, reports)
	for n := range len(good) {
		if _, err := c.ImportReceipts(good[:n]); err == nil {
			t.Fatalf("a file cut to %d bytes was taken", n)
		}
	}
	if c.waiting(t) != 2 {
		t.Errorf("%d waiting", c.waiting(t))
	}
	unknown, _, err := envelope.Sign("application/vnd.patchproof.later.v9+json", []byte("{}"), c.key)
	if err != nil {
		t.Fatal(err)
	}
	file, err := bundle.EncodeReturn([][]byte{unknown})
	if err != nil {
		t.Fatal(err)
	}
	if done, err = c.ImportReceipts(file); err != nil || done.Foreign != 1 || done.Refused != 0 {
		t.Errorf("a line of a later version: %+v, %v", done, err)
	}
	bare := newHost(t, nil, nil, nil)
	if _, err := bare.ImportReceipts(good); !errors.Is(err, agent.ErrNoReceiptKey) {
		t.Errorf("without a pinned key: %v", err)
	}
}

func TestExportReplacesOnlyBundles(t *testing.T) {
	c := newCold(t)
	c.collect(t, 1)
	path := filepath.Join(c.medium, "out.bundle")
	if _, err := c.Export(c.writer, path); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Export(c.writer, path); err != nil {
		t.Errorf("over its own: %v", err)
	}
	notes := filepath.Join(c.medium, "notes")
	if err := os.WriteFile(notes, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, filepath.Join(c.medium, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"notes", "link"} {
		if _, err := c.Export(c.writer, filepath.Join(c.medium, name)); !errors.Is(err, export.ErrNotBundle) {
			t.Errorf("over %s: %v", name, err)
		}
	}
	if data, err := os.ReadFile(notes); err != nil || string(data) != "mine" {
		t.Errorf("notes now hold %q, %v", data, err)
	}
	if _, err := c.Export(c.writer, filepath.Join(c.medium, "away", "x")); err == nil {
		t.Error("exported into a directory that is not there")
	}
	for _, name := range []string{path + ".part"} {
		if _, err := os.Lstat(name); err == nil {
			t.Errorf("%s is left", name)
		}
	}
}

func TestExportOfMoreThanOneBundleNeedsADirectory(t *testing.T) {
	c := newCold(t)
	line := func() ([]byte, error) {
		raw, err := os.ReadFile("../schema/testdata/v1/envelope.json")
		return raw, err
	}
	envelopes := []export.Envelope{{Sequence: 1, Size: 20 << 20, Load: line}, {Sequence: 2, Size: 20 << 20, Load: line}}
	if _, err := c.writer.Write(filepath.Join(c.medium, "one"), envelopes); !errors.Is(err, export.ErrTooMuch) {
		t.Errorf("into one file: %v", err)
	}
	files, err := c.writer.Write(c.medium, envelopes)
	if err != nil || len(files) != 2 {
		t.Fatalf("into a directory: %v, %v", files, err)
	}
	if files, err = c.writer.Write(c.medium, envelopes[:1]); err != nil || len(files) != 1 {
		t.Fatalf("a shorter export: %v, %v", files, err)
	}
	left, err := filepath.Glob(filepath.Join(c.medium, "*"))
	if err != nil || len(left) != 1 || left[0] != files[0].Path {
		t.Errorf("left on the medium: %v, %v", left, err)
	}
}

func TestRunOfflineExportsBySchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCold(t)
		loop := agent.Offline{Writer: c.writer, Dir: filepath.Join(c.medium, "stick"), Every: 24 * time.Hour}
		done := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- c.RunOffline(ctx, loop) }()
		time.Sleep(time.Hour) // no medium yet
		if err := os.Mkdir(loop.Dir, 0o700); err != nil {
			t.Error(err)
		}
		time.Sleep(retryWindow)
		if n := c.onMedium(t, loop.Dir); n != 1 {
			t.Errorf("%d reports on the medium after it was there, want 1", n)
		}
		time.Sleep(25 * time.Hour)
		if n := c.onMedium(t, loop.Dir); n < 4 || n > 6 {
			t.Errorf("%d reports on the medium a day later, want about 5", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if err := newHost(t, nil, nil, nil).RunOffline(t.Context(), agent.Offline{}); !errors.Is(err, agent.ErrNoRecipientKey) {
		t.Errorf("without a recipient: %v", err)
	}
}

// retryWindow is beyond the wait after an export that failed.
const retryWindow = 15 * time.Minute

func (c *cold) onMedium(t *testing.T, dir string) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 1 || !strings.HasSuffix(names[0], export.Extension) {
		t.Fatalf("on the medium: %v, %v", names, err)
	}
	raw, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	opened, err := bundle.Open(raw, c.recipient)
	if err != nil {
		t.Fatal(err)
	}
	return opened.Manifest.Count
}
