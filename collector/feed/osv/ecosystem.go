package osv

import (
	"strings"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/schema"
)

// distribution says how a distribution's ecosystem reads.
type distribution struct {
	ecosystem string // as OSV spells it
	id        string // inventory.Release.Distro
	format    schema.PackageFormat
	kind      advisory.NameKind
}

var distributions = []distribution{
	{"AlmaLinux", "almalinux", schema.FormatRPM, advisory.NameBinary},
	{"Debian", "debian", schema.FormatDeb, advisory.NameSource},
	{"Red Hat", "rhel", schema.FormatRPM, advisory.NameBinary},
	{"Rocky Linux", "rocky", schema.FormatRPM, advisory.NameBinary},
	{"Ubuntu", "ubuntu", schema.FormatDeb, advisory.NameSource},
}

// target is what one ecosystem string stands for. dist is nil when it is not a
// supported distribution; why says so when its rows are left out.
type target struct {
	dist    *distribution
	release inventory.Release
	why     string
}

// resolve reads an ecosystem string. A suffix that names another support stream
// (Ubuntu Pro, Red Hat EUS) is not the plain release: its fixes are in other
// repositories, and reading them as the release's own would ask for versions
// the host cannot get.
func resolve(ecosystem string) target {
	base, suffix, _ := strings.Cut(ecosystem, ":")
	for i := range distributions {
		d := &distributions[i]
		if d.ecosystem != base {
			continue
		}
		version := d.version(suffix)
		if version == "" {
			return target{dist: d, why: "release out of scope: " + printable(ecosystem)}
		}
		return target{dist: d, release: inventory.Release{Distro: d.id, Version: version}}
	}
	return target{why: "not a supported distribution: " + printable(base)}
}

// version returns the release a suffix names, empty for none.
func (d *distribution) version(suffix string) string {
	switch d.id {
	case "ubuntu": // 22.04:LTS, 24.10
		v, rest, _ := strings.Cut(suffix, ":")
		if rest != "" && rest != "LTS" || !dotted(v) {
			return ""
		}
		return v
	case "rhel": // enterprise_linux:9::baseos, enterprise_linux:10.0
		v, ok := strings.CutPrefix(suffix, "enterprise_linux:")
		if !ok {
			return ""
		}
		v, _, _ = strings.Cut(v, "::")
		return major(v)
	case "debian": // 12, and 3.0 before versions had no point
		if !dotted(suffix) {
			return ""
		}
		return strings.TrimSuffix(suffix, ".0")
	default:
		return major(suffix)
	}
}

func major(v string) string {
	if !dotted(v) {
		return ""
	}
	m, _, _ := strings.Cut(v, ".")
	return m
}

// dotted reports whether v is numbers joined by single points.
func dotted(v string) bool {
	digit := false
	for i := range len(v) {
		switch {
		case v[i] >= '0' && v[i] <= '9':
			digit = true
		case v[i] == '.' && digit:
			digit = false
		default:
			return false
		}
	}
	return digit && len(v) < 16
}

// feedName is the feed of one release: "osv:AlmaLinux:9".
func feedName(r inventory.Release) string { return ecosystemFeed(r.Distro) + ":" + r.Version }

// ecosystemFeed is the feed of a whole distribution: "osv:AlmaLinux".
func ecosystemFeed(distro string) string {
	for i := range distributions {
		if distributions[i].id == distro {
			return Kind + ":" + distributions[i].ecosystem
		}
	}
	return Kind + ":" + distro
}
