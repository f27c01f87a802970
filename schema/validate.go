package schema

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// ValidateReport returns a *Refusal unless r may be sealed and accepted: all
// that ValidateFacts holds, and a sequence, predecessor, time and transport key.
func ValidateReport(r *Report) error {
	if r.Sequence < 1 || r.Sequence > MaxInteger {
		return outOfBounds("sequence", "%d, want 1 to %d", r.Sequence, uint64(MaxInteger))
	}
	// The first report has no predecessor and every other one has; that the
	// predecessor is the right one is the door's question.
	if (r.Sequence == 1) != (r.Previous == "") {
		return outOfBounds("previous", "%.80q with sequence %d: only the first report has none", r.Previous, r.Sequence)
	}
	if r.Previous != "" && !isDigest(r.Previous) {
		return outOfBounds("previous", "%.80q is not a report id", r.Previous)
	}
	if err := CheckTransportKey(r.TransportKey); err != nil {
		return Refuse(ReasonOutOfBounds, "transport_key: %w", err)
	}
	return ValidateFacts(r)
}

// ValidateFacts returns a *Refusal unless what r states is within bounds, its
// parts are in order and its bodies are theirs. It holds for a report that was
// never sealed, such as one read from a file for one-shot matching.
func ValidateFacts(r *Report) error {
	for _, check := range []func(*Report) error{
		checkTimes, checkTexts, checkLists, checkNumbers, checkParts, checkBodies, checkAbsence,
	} {
		if err := check(r); err != nil {
			return err
		}
	}
	return nil
}

func outOfBounds(field, format string, args ...any) *Refusal {
	return Refuse(ReasonOutOfBounds, "%s: %w", field, fmt.Errorf(format, args...))
}

// IsDigest reports whether s is a SHA-256 in lowercase hex.
func IsDigest(s string) bool { return isDigest(s) }

func isDigest(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if strings.IndexByte(hexDigits, s[i]) < 0 {
			return false
		}
	}
	return true
}

func checkTimes(r *Report) error {
	if r.CollectedAt.IsZero() {
		return outOfBounds("collected_at", "missing")
	}
	if err := checkTime("collected_at", r.CollectedAt); err != nil {
		return err
	}
	return checkTime("boot.time", r.Boot.Time)
}

// CheckTimestamp returns a *Refusal unless t is UTC, in microseconds, and of a year
// from 1970 to 9999. The zero time passes: what must be there is for the caller.
func CheckTimestamp(field string, t time.Time) error { return checkTime(field, t) }

func checkTime(field string, t time.Time) error {
	if t.IsZero() {
		return nil
	}
	if !isTimestamp(t) {
		return Refuse(ReasonNotCanonical, "%s: %s is not UTC in microseconds", field, t.Format(time.RFC3339Nano))
	}
	if s := t.Unix(); s < 0 || s > maxUnix {
		return outOfBounds(field, "%s, want a year from 1970 to 9999", t.Format(time.RFC3339Nano))
	}
	return nil
}

// text is one string of a report with its bound.
type text struct {
	field string
	value *string
	max   int
	// word is an identifier that must not be empty; multiline may hold newlines.
	word, multiline bool
}

func (t text) clean(s string) string {
	if t.multiline {
		return s
	}
	return CleanText(s, t.max)
}

func (t text) check() error {
	s := *t.value
	if t.word && s == "" {
		return outOfBounds(t.field, "missing")
	}
	if len(s) > t.max {
		return outOfBounds(t.field, "%d bytes, at most %d", len(s), t.max)
	}
	if !utf8.ValidString(s) {
		return outOfBounds(t.field, "not UTF-8")
	}
	if t.multiline {
		s = strings.NewReplacer("\n", "", "\r", "", "\t", "").Replace(s)
	}
	if c, bad := findControl(s, ' '); bad {
		return outOfBounds(t.field, "control character %#02x", c)
	}
	return nil
}

// textsOf lists every string of r that stands alone; maps, parts and bodies
// have their own checks.
func textsOf(r *Report) []text {
	texts := []text{
		{field: "last_receipt", value: &r.LastReceipt, max: MaxLastReceipt},
		{field: "agent.version", value: &r.Agent.Version, max: maxName, word: true},
		{field: "agent.go_version", value: &r.Agent.GoVersion, max: maxName},
		{field: "agent.platform", value: &r.Agent.Platform, max: maxName},
		{field: "host.hostname", value: &r.Host.Hostname, max: maxName},
		{field: "host.arch", value: &r.Host.Arch, max: maxName},
		{field: "host.machine_id", value: &r.Host.MachineID, max: maxName},
		{field: "host.product_uuid", value: &r.Host.ProductUUID, max: maxName},
		{field: "host.instance_id", value: &r.Host.InstanceID, max: maxName},
		{field: "host.product_vendor", value: &r.Host.ProductVendor, max: maxText},
		{field: "host.product_name", value: &r.Host.ProductName, max: maxText},
		{field: "host.virtualization", value: &r.Host.Virtualization, max: maxName},
		{field: "os.id", value: &r.OS.ID, max: maxName},
		{field: "os.version_id", value: &r.OS.VersionID, max: maxName},
		{field: "os.codename", value: &r.OS.Codename, max: maxName},
		{field: "os.name", value: &r.OS.Name, max: maxText},
		{field: "os.pretty_name", value: &r.OS.PrettyName, max: maxText},
		{field: "os.cpe_name", value: &r.OS.CPEName, max: maxText},
		{field: "kernel.release", value: &r.Kernel.Release, max: maxName},
		{field: "kernel.version", value: &r.Kernel.Version, max: maxText},
		{field: "kernel.machine", value: &r.Kernel.Machine, max: maxName},
		{field: "kernel.command_line", value: &r.Kernel.CommandLine, max: maxCommandLine},
		{field: "kernel.lockdown", value: &r.Kernel.Lockdown, max: maxName},
		{field: "boot.id", value: &r.Boot.ID, max: maxName},
	}
	texts = append(texts, eachText("host.addresses", r.Host.Addresses)...)
	texts = append(texts, eachText("os.id_like", r.OS.IDLike)...)
	for i := range r.Kernel.Installed {
		k := &r.Kernel.Installed[i]
		texts = append(texts,
			text{field: "kernel.installed.release", value: &k.Release, max: maxName, word: true},
			text{field: "kernel.installed.package", value: &k.Package, max: maxText})
	}
	texts = append(texts, bootTexts(&r.Kernel)...)
	for i := range r.Kernel.LivePatches {
		texts = append(texts, livePatchTexts(&r.Kernel.LivePatches[i])...)
	}
	for i := range r.Gaps {
		g := &r.Gaps[i]
		texts = append(texts,
			text{field: "gaps.extractor", value: &g.Extractor, max: maxName, word: true},
			text{field: "gaps.kind", value: &g.Kind, max: maxName, word: true},
			text{field: "gaps.path", value: &g.Path, max: maxText},
			text{field: "gaps.detail", value: &g.Detail, max: maxText})
	}
	if c := r.Cloud; c != nil {
		texts = append(texts, cloudTexts(c)...)
	}
	return texts
}

func bootTexts(k *Kernel) []text {
	var texts []text
	if n := k.NextBoot; n != nil {
		texts = append(texts,
			text{field: "kernel.next_boot.release", value: &n.Release, max: maxName},
			text{field: "kernel.next_boot.loader", value: &n.Loader, max: maxName, word: true},
			text{field: "kernel.next_boot.entry", value: &n.Entry, max: maxText})
	}
	for i := range k.RebootMarkers {
		m := &k.RebootMarkers[i]
		texts = append(texts, text{field: "kernel.reboot_markers.path", value: &m.Path, max: maxText, word: true})
		texts = append(texts, eachText("kernel.reboot_markers.packages", m.Packages)...)
	}
	return texts
}

func livePatchTexts(p *LivePatch) []text {
	texts := []text{
		{field: "kernel.live_patches.provider", value: &p.Provider, max: maxName, word: true},
		{field: "kernel.live_patches.name", value: &p.Name, max: maxName, word: true},
		{field: "kernel.live_patches.version", value: &p.Version, max: maxName},
		{field: "kernel.live_patches.src_version", value: &p.SrcVersion, max: maxName},
		{field: "kernel.live_patches.build_id", value: &p.BuildID, max: maxName},
		{field: "kernel.live_patches.package", value: &p.Package, max: maxText},
		{field: "kernel.live_patches.file", value: &p.File, max: maxText},
		{field: "kernel.live_patches.effective", value: &p.Effective, max: maxName},
		{field: "kernel.live_patches.supported", value: &p.Supported, max: maxName},
		{field: "kernel.live_patches.state", value: &p.State, max: maxName},
	}
	texts = append(texts, eachText("kernel.live_patches.objects", p.Objects)...)
	return append(texts, eachText("kernel.live_patches.fixes", p.Fixes)...)
}

func cloudTexts(c *Cloud) []text {
	return []text{
		{field: "cloud.provider", value: &c.Provider, max: maxName, word: true},
		{field: "cloud.account_id", value: &c.AccountID, max: maxName},
		{field: "cloud.region", value: &c.Region, max: maxName},
		{field: "cloud.availability_zone", value: &c.AvailabilityZone, max: maxName},
		{field: "cloud.instance_id", value: &c.InstanceID, max: maxName},
		{field: "cloud.instance_type", value: &c.InstanceType, max: maxName},
		{field: "cloud.image_id", value: &c.ImageID, max: maxName},
		{field: "cloud.identity_document", value: &c.IdentityDocument, max: maxLong, multiline: true},
		{field: "cloud.identity_signature", value: &c.IdentitySignature, max: maxLong, multiline: true},
	}
}

func eachText(field string, list []string) []text {
	texts := make([]text, len(list))
	for i := range list {
		texts[i] = text{field: field, value: &list[i], max: maxName, word: true}
	}
	return texts
}

func checkTexts(r *Report) error {
	for _, t := range textsOf(r) {
		if err := t.check(); err != nil {
			return err
		}
	}
	if err := checkMap("labels", r.Labels); err != nil {
		return err
	}
	if r.Cloud != nil {
		return checkMap("cloud.tags", r.Cloud.Tags)
	}
	return nil
}

func checkMap(field string, m map[string]string) error {
	if len(m) > MaxLabels {
		return outOfBounds(field, "%d entries, at most %d", len(m), MaxLabels)
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		value := m[key]
		if err := (text{field: field + " key", value: &key, max: maxName, word: true}).check(); err != nil {
			return err
		}
		if err := (text{field: field + "." + key, value: &value, max: maxText}).check(); err != nil {
			return err
		}
	}
	return nil
}

func checkLists(r *Report) error {
	lists := []listLength{
		{"parts", len(r.Parts), MaxParts},
		{"gaps", len(r.Gaps), MaxGaps},
		{"kernel.installed", len(r.Kernel.Installed), MaxInstalledKernels},
		{"host.addresses", len(r.Host.Addresses), MaxAddresses},
		{"os.id_like", len(r.OS.IDLike), MaxIDLike},
		{"kernel.reboot_markers", len(r.Kernel.RebootMarkers), MaxRebootMarkers},
		{"kernel.live_patches", len(r.Kernel.LivePatches), MaxLivePatches},
	}
	for _, m := range r.Kernel.RebootMarkers {
		lists = append(lists, listLength{"kernel.reboot_markers.packages", len(m.Packages), MaxMarkerPackages})
	}
	for _, p := range r.Kernel.LivePatches {
		lists = append(lists,
			listLength{"kernel.live_patches.objects", len(p.Objects), MaxLivePatchWords},
			listLength{"kernel.live_patches.fixes", len(p.Fixes), MaxLivePatchFixes})
	}
	for _, l := range lists {
		if l.len > l.max {
			return outOfBounds(l.field, "%d entries, at most %d", l.len, l.max)
		}
	}
	return nil
}

// listLength is how many entries a list has and may have.
type listLength struct {
	field    string
	len, max int
}

// number is one integer of a report.
type number struct {
	field string
	value int64
}

func checkNumbers(r *Report) error {
	numbers := []number{
		{"host.cpus", int64(r.Host.CPUs)},
		{"cost.cpu_ns", int64(r.Cost.CPU)},
		{"cost.peak_rss_bytes", r.Cost.PeakRSS},
		{"cost.duration_ns", int64(r.Cost.Duration)},
		{"cost.parts_reused", int64(r.Cost.PartsReused)},
	}
	for _, p := range r.Kernel.LivePatches {
		numbers = append(numbers,
			number{"kernel.live_patches.stuck", int64(p.Stuck)}, number{"kernel.live_patches.functions", int64(p.Functions)})
	}
	for _, n := range numbers {
		if n.value < 0 || n.value > MaxInteger {
			return outOfBounds(n.field, "%d, want 0 to %d", n.value, int64(MaxInteger))
		}
	}
	if r.Host.MemoryBytes > MaxInteger {
		return outOfBounds("host.memory_bytes", "%d, at most %d", r.Host.MemoryBytes, uint64(MaxInteger))
	}
	if r.Kernel.Tainted > MaxInteger {
		return outOfBounds("kernel.tainted", "%d, at most %d", r.Kernel.Tainted, uint64(MaxInteger))
	}
	return nil
}

func checkParts(r *Report) error {
	previous := ""
	for i, p := range r.Parts {
		if !isPartName(p.Name) {
			return outOfBounds("parts.name", "%.80q: want lowercase letters, digits and dashes", p.Name)
		}
		if i > 0 && p.Name <= previous {
			return Refuse(ReasonPartsUnsorted, "part %q after %q", p.Name, previous)
		}
		previous = p.Name
		if !isDigest(p.Digest) {
			return outOfBounds("parts.digest", "%.80q of part %q is not a SHA-256", p.Digest, p.Name)
		}
		if p.Size < 0 || p.Size > MaxPart {
			return outOfBounds("parts.size", "%d of part %q, want 0 to %d", p.Size, p.Name, MaxPart)
		}
		if p.Count < 0 || int64(p.Count) > p.Size || p.Count > maxLines(p.Name) {
			return outOfBounds("parts.count", "%d lines of part %q", p.Count, p.Name)
		}
	}
	return nil
}

func maxLines(part string) int {
	switch part {
	case PartPackages:
		return MaxPackages
	case PartStale:
		return MaxStale
	}
	return MaxPart
}

// isPartName: a lowercase letter, then lowercase letters, digits and dashes.
func isPartName(s string) bool {
	const longest = 64
	if s == "" || len(s) > longest || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func checkBodies(r *Report) error {
	for _, name := range slices.Sorted(maps.Keys(r.Bodies)) {
		body := r.Bodies[name]
		part, ok := r.Part(name)
		if !ok {
			return Refuse(ReasonBodyUnnamed, "body %.80q belongs to no part", name)
		}
		if len(body) > MaxPart {
			return Refuse(ReasonTooLarge, "body %q: %d bytes, at most %d", name, len(body), MaxPart)
		}
		if made := NewPart(name, body); made != part {
			return Refuse(ReasonBodyDigest, "body %q is %s, %d bytes, %d lines; its part says %s, %d bytes, %d lines",
				name, made.Digest, made.Size, made.Count, part.Digest, part.Size, part.Count)
		}
		if err := CheckPart(name, body); err != nil {
			return Refuse(ReasonBodyNotCanonical, "body %q: %w", name, err)
		}
	}
	return nil
}

func checkAbsence(r *Report) error {
	if _, ok := r.Part(PartPackages); !ok && len(r.Gaps) == 0 {
		return Refuse(ReasonUnexplainedAbsence, "no %q part, and no gap that says why", PartPackages)
	}
	return nil
}

// CleanText makes s fit a line of free text: each control character and each
// byte that is not UTF-8 becomes U+FFFD, and what is over limit bytes is cut off
// and ends in an ellipsis.
func CleanText(s string, limit int) string {
	const ellipsis = "…"
	if _, bad := findControl(s, ' '); bad || !utf8.ValidString(s) {
		s = strings.Map(func(r rune) rune {
			if r < 0x20 || r == 0x7f {
				return utf8.RuneError
			}
			return r
		}, s)
	}
	if len(s) <= limit {
		return s
	}
	cut := max(limit-len(ellipsis), 0)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + ellipsis
}
