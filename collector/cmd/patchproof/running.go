package main

import (
	"fmt"
	"strings"

	"github.com/patchproof/patchproof/collector/query"
	"github.com/patchproof/patchproof/schema"
)

// shownStale is how many packages of stale code a person sees.
const shownStale = 8

// sayRunning tells what really runs, a line each.
func sayRunning(say func(label, format string, args ...any), r *query.Running) {
	if r == nil {
		return
	}
	if !r.BootedAt.IsZero() {
		say("", "booted %s", stamp(r.BootedAt))
	}
	if next := r.NextBoot; next != nil && next.Release != r.Kernel {
		say("next boot", "%s (%s)", orWord(next.Release, "a kernel that cannot be told"), next.Loader)
	}
	for _, m := range r.RebootMarkers {
		say("reboot", "asked for by %s %s", m.Path, strings.Join(m.Packages, ", "))
	}
	for i := range r.LivePatches {
		say("live patch", "%s", livePatchWords(&r.LivePatches[i]))
	}
	switch {
	case !r.Looked:
		say("processes", "not looked at: what they run is not known")
	case len(r.Stale) == 0:
		say("processes", "none runs code that is no longer on disk")
	}
	for i := range r.Stale {
		if i == shownStale {
			say("", "and %d more packages; -o json has them all", len(r.Stale)-i)
			break
		}
		say("restart", "%s", staleWords(&r.Stale[i]))
	}
}

func orWord(s, word string) string {
	if s == "" {
		return word
	}
	return s
}

// livePatchWords says how a live patch is.
func livePatchWords(p *schema.LivePatch) string {
	state := "on disk, not loaded"
	switch {
	case p.Transition:
		state = fmt.Sprintf("in transition, %s left", plural(p.Stuck, "task"))
	case p.Enabled:
		state = "enabled"
	case p.Loaded:
		state = "loaded, disabled"
	}
	out := strings.TrimSpace(p.Name+" "+p.Version) + ": " + state
	if p.Package != "" {
		out += ", from " + p.Package
	}
	if p.Effective != "" {
		out += ", as good as " + p.Effective
	}
	return out
}

// staleWords says which processes run what.
func staleWords(p *query.StalePackage) string {
	names := make([]string, 0, len(p.Processes))
	for _, q := range p.Processes {
		if len(names) == shownStale {
			names = append(names, fmt.Sprintf("%d more", len(p.Processes)-len(names)))
			break
		}
		names = append(names, fmt.Sprintf("%s (%d)", orWord(q.Unit, q.Command), q.PID))
	}
	what := orWord(p.Package, strings.Join(p.Files, " "))
	if p.Loaded != "" {
		what += " " + p.Loaded
	} else if p.Package != "" {
		what += " in an older version"
	}
	if p.Container != "" {
		what += fmt.Sprintf(" in container %.12s", p.Container)
	}
	return what + " still runs in " + strings.Join(names, ", ")
}
