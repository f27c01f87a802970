package inventory

import "strings"

// grain is how much of VERSION_ID names the release vendors publish for.
type grain int

const (
	whole grain = iota // ubuntu 22.04
	major              // almalinux 9, of 9.3
	minor              // alpine 3.19, of 3.19.1; suse 15.5
)

// distros maps os-release IDs to the distribution's name in feeds, and its grain.
// Point releases of the Red Hat family and of Amazon Linux 2023 are one stream
// of updates; Ubuntu's 22.04 and 22.10 are two; a SUSE service pack has its own.
var distros = map[string]struct {
	name  string
	grain grain
}{
	"debian":        {"debian", major},
	"ubuntu":        {"ubuntu", whole},
	"almalinux":     {"almalinux", major},
	"rhel":          {"rhel", major},
	"rocky":         {"rocky", major},
	"ol":            {"oracle", major},
	"centos":        {"centos", major},
	"amzn":          {"amazon", major},
	"alpine":        {"alpine", minor},
	"sles":          {"suse", minor},
	"sles_sap":      {"suse", minor},
	"sle_hpc":       {"suse", minor},
	"fedora":        {"fedora", whole},
	"opensuse-leap": {"opensuse", minor},
}

// ReleaseOf returns the release that os-release ID and VERSION_ID name, at the
// grain its vendor publishes advisories for. An ID it does not know keeps its
// own name and version, which no feed covers: the asset is shown as not
// covered, not as clean. Without an ID the release is the zero value.
func ReleaseOf(id, versionID string) Release {
	id = strings.ToLower(strings.TrimSpace(id))
	versionID = strings.TrimSpace(versionID)
	if id == "" {
		return Release{}
	}
	if id == "amzn" && strings.HasPrefix(versionID, "201") {
		versionID = "1" // Amazon Linux 1 counted by month, up to 2018.03
	}
	d, ok := distros[id]
	if !ok {
		return Release{Distro: id, Version: versionID}
	}
	return Release{Distro: d.name, Version: cut(versionID, d.grain)}
}

func cut(version string, g grain) string {
	if g == whole {
		return version
	}
	parts := strings.SplitN(version, ".", 3)
	if g == major {
		return parts[0]
	}
	return strings.Join(parts[:min(len(parts), 2)], ".")
}
