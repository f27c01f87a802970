package process

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/patchproof/patchproof/agent/scan/rootfs"
	"github.com/patchproof/patchproof/schema"
)

// ticks is how many a second proc counts in (USER_HZ), on every architecture we
// build for.
const ticks = 100

// describe tells which process it is: its command, start, unit and container.
func (r *reader) describe(pid int, dir string) (schema.Stale, error) {
	s := schema.Stale{PID: pid}
	stat, err := rootfs.ReadFile(r.host.Proc, dir+"/stat", 4096)
	if err != nil {
		return s, err
	}
	var started int64
	if s.Command, started, err = parseStat(stat); err != nil {
		return s, err
	}
	if r.host.Boot > 0 {
		s.Started = r.host.Boot + started/ticks
	}
	cgroup, err := rootfs.ReadFile(r.host.Proc, dir+"/cgroup", 64<<10)
	if err != nil {
		return s, err
	}
	s.Unit, s.Container = parseCgroup(string(cgroup))
	return s, nil
}

// parseStat reads the command and the start, in ticks since boot, of
// proc/PID/stat. The command may hold anything, also spaces and brackets.
func parseStat(b []byte) (string, int64, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return "", 0, errors.New("stat names no command")
	}
	const startTime = 22 - 3 // field 22, counted from the state behind the command
	fields := bytes.Fields(b[end+1:])
	if len(fields) <= startTime {
		return "", 0, errors.New("stat ends early")
	}
	started, err := strconv.ParseInt(string(fields[startTime]), 10, 64)
	if err != nil || started < 0 {
		return "", 0, errors.New("stat has no start time")
	}
	return string(b[open+1 : end]), started, nil
}

// parseCgroup reads the systemd unit and the container of proc/PID/cgroup. The
// unified hierarchy counts (0::), or systemd's own where there is none.
func parseCgroup(text string) (unit, container string) {
	path := ""
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		if container == "" {
			container = containerOf(fields[2])
		}
		if fields[1] == "name=systemd" || fields[0] == "0" && path == "" {
			path = fields[2]
		}
	}
	return unitOf(path), container
}

// unitOf returns the innermost service of a control group, or the innermost
// scope outside of services.
func unitOf(path string) string {
	scope := ""
	for _, part := range slices.Backward(strings.Split(path, "/")) {
		switch {
		case strings.HasSuffix(part, ".service"):
			return part
		case strings.HasSuffix(part, ".scope") && scope == "":
			scope = part
		}
	}
	return scope
}

// containerOf returns the id of the container a control group is of: 64
// hexadecimal digits, alone or between a runtime's prefix and ".scope".
func containerOf(path string) string {
	const digits = 64
	for i := 0; i+digits <= len(path); i++ {
		n := 0
		for n < digits && isHex(path[i+n]) {
			n++
		}
		if n == digits && (i+digits == len(path) || !isHex(path[i+digits])) {
			return path[i : i+digits]
		}
		i += n
	}
	return ""
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }
