package match

import (
	"strings"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/schema"
)

// appliesTo answers whether a row speaks of a package of this format,
// architecture and module. Maybe: the row is of a module stream, and of the
// package it is only known that it is modular.
func appliesTo(aff *advisory.Affected, s *subject) answer {
	if aff.Format != s.pkg.Format || !archApplies(aff.Arch, s.arch) {
		return no
	}
	switch {
	case aff.Module == "":
		if s.modular {
			return no
		}
		return yes
	case !s.modular:
		return no
	case aff.Module == "*":
		return yes
	case s.module == "":
		return maybe
	}
	for m := range strings.FieldsSeq(aff.Module) {
		if m == s.module {
			return yes
		}
	}
	return no
}

// archApplies compares architectures. A package may change between noarch and a
// real one from build to build, so noarch on either side applies; source
// packages are not what is installed.
func archApplies(listed []string, installed string) bool {
	if len(listed) == 0 || installed == "" || installed == "noarch" || installed == "all" {
		return !onlySource(listed)
	}
	for _, a := range listed {
		if a = archName(a); a == installed || a == "noarch" || a == "all" {
			return true
		}
	}
	return false
}

func onlySource(listed []string) bool {
	for _, a := range listed {
		if a != "src" && a != "nosrc" && a != "source" {
			return false
		}
	}
	return len(listed) > 0
}

// archName folds the spellings of one architecture.
func archName(a string) string {
	switch a {
	case "amd64", "x64", "ia32e":
		return "x86_64"
	case "arm64":
		return "aarch64"
	case "i386", "i486", "i586":
		return "i686"
	case "ppc64el":
		return "ppc64le"
	default:
		return a
	}
}

// moduleOf reads the name:stream of a modularity label, and whether a package is
// modular at all. Without a label a module's package is known by the mark of a
// module build in its release.
func moduleOf(p *schema.Package) (module string, modular bool) {
	if p.Module == "" {
		return "", p.Format == schema.FormatRPM && (strings.Contains(p.Release, ".module+el") || strings.Contains(p.Release, ".module_el"))
	}
	n, rest, ok := strings.Cut(p.Module, ":")
	if !ok || n == "" {
		return "", true
	}
	stream, _, _ := strings.Cut(rest, ":")
	if stream == "" {
		return "", true
	}
	return p.Module[:len(n)+1+len(stream)], true
}
