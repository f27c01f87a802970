package kernel

import (
	"cmp"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/patchproof/patchproof/agent/scan/rootfs"
	"github.com/patchproof/patchproof/schema"
)

// maxConfig is the most bytes of a boot loader's file.
const maxConfig = 4 << 20

// started reads how the running kernel was started and what became of it. None of
// it is there on every kernel.
func (r *reader) started(root fs.FS, k *schema.Kernel) {
	k.CommandLine = r.optional(root, "proc/cmdline")
	k.Lockdown = chosen(r.optional(root, "sys/kernel/security/lockdown"))
	if tainted := r.optional(root, "proc/sys/kernel/tainted"); tainted != "" {
		mask, err := strconv.ParseUint(tainted, 10, 64)
		if err != nil {
			r.gap(schema.GapCorrupt, "proc/sys/kernel/tainted", err.Error())
		}
		k.Tainted = mask
	}
}

// chosen returns the word in brackets: "none [integrity] confidentiality".
func chosen(line string) string {
	for word := range strings.FieldsSeq(line) {
		if strings.HasPrefix(word, "[") && strings.HasSuffix(word, "]") {
			return word[1 : len(word)-1]
		}
	}
	return ""
}

func (r *reader) optional(root fs.FS, name string) string {
	line, err := rootfs.ReadLine(root, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.gap(schema.GapUnreadable, name, err.Error())
	}
	return line
}

// RebootMarkers reads the files by which distributions ask for a reboot:
// reboot-required of Debian and Ubuntu, which names packages beside it, and
// reboot-needed of SUSE.
func RebootMarkers(root fs.FS) ([]schema.RebootMarker, []schema.Gap) {
	var r reader
	var markers []schema.RebootMarker
	for _, name := range []string{"run/reboot-required", "run/reboot-needed"} {
		_, err := fs.Stat(root, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			r.gap(schema.GapUnreadable, name, err.Error())
			continue
		}
		m := schema.RebootMarker{Path: "/" + name}
		for line := range strings.Lines(r.config(root, name+".pkgs")) {
			if pkg := strings.TrimSpace(line); pkg != "" {
				m.Packages = append(m.Packages, pkg)
			}
		}
		slices.Sort(m.Packages)
		m.Packages = slices.Compact(m.Packages)
		markers = append(markers, m)
	}
	return markers, r.gaps
}

// config reads a text file that need not be there.
func (r *reader) config(root fs.FS, name string) string {
	b, err := rootfs.ReadFile(root, name, maxConfig)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.gap(schema.GapUnreadable, name, err.Error())
	}
	return string(b)
}

// NextBoot reads which kernel the boot loader takes next: GRUB by its generated
// configuration or by boot loader entries, or systemd-boot. It is nil where no
// file says so.
//
// Formats: https://www.gnu.org/software/grub/manual/grub/grub.html,
// https://uapi-group.org/specifications/specs/boot_loader_specification/.
func NextBoot(root fs.FS) (*schema.NextBoot, []schema.Gap) {
	var r reader
	env := r.grubEnvironment(root)
	for _, name := range []string{"boot/grub2/grub.cfg", "boot/grub/grub.cfg"} {
		cfg := r.config(root, name)
		switch {
		case cfg == "":
		case strings.Contains(cfg, "blscfg"):
			return byEntries(r.entries(root), cmp.Or(env["next_entry"], env["saved_entry"]), "bls"), r.gaps
		default:
			return byMenu(cfg, env), r.gaps
		}
	}
	loader := r.config(root, "boot/loader/loader.conf")
	if entries := r.entries(root); len(entries) > 0 {
		return byEntries(entries, setting(loader, "default"), "systemd-boot"), r.gaps
	}
	return nil, r.gaps
}

// grubEnvironment reads GRUB's block of variables.
func (r *reader) grubEnvironment(root fs.FS) map[string]string {
	env := map[string]string{}
	for _, name := range []string{"boot/grub2/grubenv", "boot/grub/grubenv"} {
		for line := range strings.Lines(r.config(root, name)) {
			key, value, ok := strings.Cut(strings.TrimRight(line, "\n"), "=")
			if _, taken := env[key]; ok && !taken && !strings.HasPrefix(line, "#") {
				env[key] = value
			}
		}
	}
	return env
}

// setting returns the last value of a key in a file of words.
func setting(text, key string) string {
	value := ""
	for line := range strings.Lines(text) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if word == key {
			value = strings.TrimSpace(rest)
		}
	}
	return value
}

// entry is one boot loader entry.
type entry struct{ id, title, release string }

// entries reads the boot loader entries, the one a menu shows first at the front.
func (r *reader) entries(root fs.FS) []entry {
	const dir = "boot/loader/entries"
	var list []entry
	for _, name := range r.names(root, dir) {
		id, ok := strings.CutSuffix(name, ".conf")
		if !ok {
			continue
		}
		text := r.config(root, path.Join(dir, name))
		release := setting(text, "version")
		if release == "" {
			release = releaseOf(setting(text, "linux"))
		}
		list = append(list, entry{id: id, title: setting(text, "title"), release: release})
	}
	slices.SortFunc(list, func(a, b entry) int { return natural(b.id, a.id) })
	return list
}

// byEntries chooses an entry by id, title, pattern or number; without a choice
// the first is taken.
func byEntries(entries []entry, choice, loader string) *schema.NextBoot {
	if len(entries) == 0 {
		return nil
	}
	next := &schema.NextBoot{Loader: loader, Entry: choice}
	if choice == "" {
		choice = "0"
	}
	if n, err := strconv.Atoi(choice); err == nil && n >= 0 && n < len(entries) {
		next.Entry, next.Release = entries[n].id, entries[n].release
		return next
	}
	for _, e := range entries {
		fits, err := path.Match(strings.TrimSuffix(choice, ".conf"), e.id)
		if err == nil && fits || e.id == choice || e.title == choice {
			next.Entry, next.Release = e.id, e.release
			return next
		}
	}
	return next // an entry that is not there: nobody knows what boots
}

// menu is an entry or a submenu of GRUB's configuration.
type menu struct {
	id, title, release string
	items              []*menu
}

// byMenu chooses an entry of a generated grub.cfg.
func byMenu(cfg string, env map[string]string) *schema.NextBoot {
	root, choice := parseMenu(cfg)
	switch {
	case env["next_entry"] != "":
		choice = env["next_entry"]
	case choice == "${saved_entry}":
		choice = env["saved_entry"]
	}
	if choice == "" {
		choice = "0"
	}
	next := &schema.NextBoot{Loader: "grub", Entry: choice}
	at := root
	for part := range strings.SplitSeq(choice, ">") {
		if at = at.item(part); at == nil {
			return next
		}
	}
	for len(at.items) > 0 { // a submenu's default is its first entry
		at = at.items[0]
	}
	next.Entry, next.Release = cmp.Or(at.id, at.title), at.release
	return next
}

func (m *menu) item(choice string) *menu {
	for _, i := range m.items {
		if i.id != "" && i.id == choice || i.title == choice {
			return i
		}
	}
	if n, err := strconv.Atoi(choice); err == nil && n >= 0 && n < len(m.items) {
		return m.items[n]
	}
	return nil
}

// maxDepth is how deep blocks of a grub.cfg may nest.
const maxDepth = 64

// parseMenu reads the entries of a grub.cfg and what it sets as default, other
// than for a single boot.
func parseMenu(cfg string) (root *menu, choice string) {
	root = &menu{}
	stack := []*menu{root}
	for line := range strings.Lines(cfg) {
		line = strings.TrimSpace(line)
		top := stack[len(stack)-1]
		switch word, _, _ := strings.Cut(line, " "); {
		case strings.HasPrefix(line, "set default="):
			if value := unquote(strings.TrimPrefix(line, "set default=")); value != "${next_entry}" {
				choice = value
			}
		case word == "menuentry" || word == "submenu":
			item := &menu{title: quoted(line), id: entryID(line)}
			top.items = append(top.items, item)
			stack = append(stack, item)
		case line == "}" && len(stack) > 1:
			stack = stack[:len(stack)-1]
		case strings.HasPrefix(word, "linux") && top != root && top.release == "":
			if fields := strings.Fields(line); len(fields) > 1 {
				top.release = releaseOf(fields[1])
			}
		case strings.HasSuffix(line, "{"): // a function, which holds no entry
			stack = append(stack, &menu{})
		}
		if len(stack) > maxDepth {
			return root, choice
		}
	}
	return root, choice
}

func unquote(s string) string { return strings.Trim(s, `"'`) }

// quoted returns the first text in quotes.
func quoted(line string) string {
	i := strings.IndexAny(line, `"'`)
	if i < 0 {
		return ""
	}
	text, _, _ := strings.Cut(line[i+1:], line[i:i+1])
	return text
}

// entryID returns what follows --id or the variable that stands for it.
func entryID(line string) string {
	for _, mark := range []string{"$menuentry_id_option", "--id"} {
		if _, rest, ok := strings.Cut(line, mark); ok {
			return quoted(rest)
		}
	}
	return ""
}

// releaseOf returns the release of a kernel image by its name, empty when it
// tells none.
func releaseOf(image string) string {
	name := path.Base(image)
	for _, prefix := range imagePrefixes {
		if release, ok := strings.CutPrefix(name, prefix); ok && plausible(release) {
			return release
		}
	}
	return ""
}

// natural compares names with numbers in them by their values.
func natural(a, b string) int {
	for a != "" && b != "" {
		x, y := leading(a), leading(b)
		a, b = a[len(x):], b[len(y):]
		c := strings.Compare(x, y)
		if isDigit(x[0]) && isDigit(y[0]) {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if c = len(x) - len(y); c == 0 {
				c = strings.Compare(x, y)
			}
		}
		if c != 0 {
			return c
		}
	}
	return len(a) - len(b)
}

// leading returns the digits, or the other characters, that a name begins with.
func leading(s string) string {
	n := 1
	for n < len(s) && isDigit(s[n]) == isDigit(s[0]) {
		n++
	}
	return s[:n]
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
