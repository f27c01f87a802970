package sbom

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/package-url/packageurl-go"

	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/version"
	"github.com/patchproof/patchproof/schema"
)

// otherType is the purl type of a component that is no package of a distribution.
type otherType string

func (t otherType) Error() string { return "a component of type " + string(t) }

// maxName bounds names and versions; longer ones are no package's.
const maxName = 512

// packageOf reads the package a component's purl names, and its release.
func packageOf(c *cdx.Component, system inventory.Release) (schema.Package, inventory.Release, error) {
	u, err := packageurl.FromString(c.PackageURL)
	if err != nil {
		return schema.Package{}, inventory.Release{}, fmt.Errorf("purl cannot be read: %w", err)
	}
	p := schema.Package{Name: u.Name, Status: schema.StatusInstalled}
	switch u.Type {
	case packageurl.TypeRPM:
		p.Format = schema.FormatRPM
	case packageurl.TypeDebian:
		p.Format = schema.FormatDeb
	case packageurl.TypeApk:
		p.Format = version.FormatAPK
	default:
		return p, inventory.Release{}, otherType(u.Type)
	}
	q := u.Qualifiers.Map()
	if p.Format == schema.FormatRPM {
		p.Module = firstOf(q["rpmmod"], q["modularitylabel"], property(c.Properties, "aquasecurity:trivy:Modularitylabel"))
	}
	distro, _, _ := strings.Cut(q["distro"], " ") // amazon-2 (Karoo)
	for _, s := range []string{u.Name, u.Version, q["arch"], distro, q["upstream"], p.Module} {
		if !plain(s) {
			return p, inventory.Release{}, fmt.Errorf("purl holds %.60q, which is no name or version", s)
		}
	}
	p.Arch = q["arch"]
	if err := setVersion(&p, u.Version, q["epoch"]); err != nil {
		return p, inventory.Release{}, err
	}
	if err := setSource(&p, q["upstream"], c.Properties); err != nil {
		return p, inventory.Release{}, err
	}
	r, err := packageRelease(u.Namespace, distro, system)
	return p, r, err
}

// packageRelease is the release of a package: that of its distro qualifier, else
// the document's.
func packageRelease(namespace, distro string, system inventory.Release) (inventory.Release, error) {
	r := system
	if distro != "" {
		named, ok := distroOf(distro)
		if !ok {
			return r, fmt.Errorf("distro %.60q is not NAME-VERSION", distro)
		}
		if !agree(namespace, named) {
			return r, fmt.Errorf("its namespace says %.60s and its distro %.60s", namespace, distro)
		}
		return named, nil
	}
	if !agree(namespace, r) {
		return r, fmt.Errorf("its namespace says %.60s, the document's operating system is %s, and it names no distro", namespace, r)
	}
	return r, nil
}

// setVersion splits [epoch:]version[-release]. The epoch may stand in the
// version, in the qualifier, or in both when they agree.
func setVersion(p *schema.Package, v, epoch string) error {
	if v == "" {
		return errors.New("it has no version")
	}
	if e, rest, ok := strings.Cut(v, ":"); ok && p.Format != version.FormatAPK {
		if epoch != "" && strings.TrimLeft(epoch, "0") != strings.TrimLeft(e, "0") {
			return fmt.Errorf("its version says epoch %.20s and its qualifier %.20s", e, epoch)
		}
		epoch, v = e, rest
	}
	if epoch != "" {
		n, err := strconv.ParseInt(epoch, 10, 32)
		if err != nil || n < 0 || epoch[0] == '+' {
			return fmt.Errorf("epoch %.20q is not a number", epoch)
		}
		p.Epoch = int(n)
	}
	p.Version = v
	if i := strings.LastIndexByte(v, '-'); i >= 0 && p.Format != version.FormatAPK {
		p.Version, p.Release = v[:i], v[i+1:]
		if p.Version == "" || p.Release == "" {
			return fmt.Errorf("version %.60q is not VERSION-RELEASE", v)
		}
	}
	if p.Format == schema.FormatRPM && p.Release == "" {
		return fmt.Errorf("version %.60q has no release, which an rpm's has", v)
	}
	return nil
}

// setSource reads what the package was built from: upstream=src or src@version
// of a deb or apk, the name of the source rpm of an rpm, or the properties that
// trivy writes. Without any the package is its own source.
func setSource(p *schema.Package, upstream string, props *[]cdx.Property) error {
	p.Source, p.SourceVersion = p.Name, p.EVR()
	if p.Format == version.FormatAPK {
		p.SourceVersion = p.Version
	}
	switch {
	case upstream != "" && p.Format == schema.FormatRPM:
		return setSourceRPM(p, upstream)
	case upstream != "":
		source, v, ok := strings.Cut(upstream, "@")
		if source == "" || ok && v == "" {
			return fmt.Errorf("upstream %.60q is not SOURCE or SOURCE@VERSION", upstream)
		}
		p.Source = source
		if ok {
			p.SourceVersion = v
		}
	case property(props, "aquasecurity:trivy:SrcName") != "":
		return setTrivySource(p, props)
	}
	return nil
}

// setSourceRPM reads NAME-VERSION-RELEASE.src.rpm. The file's name has no epoch;
// a source has the epoch of its main package, which we take to be this one's.
func setSourceRPM(p *schema.Package, file string) error {
	nvr, ok := strings.CutSuffix(file, ".rpm")
	if !ok {
		p.Source = file // a bare name
		return nil
	}
	nvr = strings.TrimSuffix(strings.TrimSuffix(nvr, ".src"), ".nosrc")
	r := strings.LastIndexByte(nvr, '-')
	if r <= 0 {
		return fmt.Errorf("upstream %.60q is not NAME-VERSION-RELEASE.src.rpm", file)
	}
	v := strings.LastIndexByte(nvr[:r], '-')
	if v <= 0 || v+1 == r || r+1 == len(nvr) {
		return fmt.Errorf("upstream %.60q is not NAME-VERSION-RELEASE.src.rpm", file)
	}
	p.Source = nvr[:v]
	p.SourceVersion = schema.Package{Epoch: p.Epoch, Version: nvr[v+1 : r], Release: nvr[r+1:]}.EVR()
	return nil
}

func setTrivySource(p *schema.Package, props *[]cdx.Property) error {
	source := property(props, "aquasecurity:trivy:SrcName")
	src := schema.Package{
		Version: property(props, "aquasecurity:trivy:SrcVersion"),
		Release: property(props, "aquasecurity:trivy:SrcRelease"),
	}
	if e := property(props, "aquasecurity:trivy:SrcEpoch"); e != "" {
		n, err := strconv.ParseUint(e, 10, 31)
		if err != nil {
			return fmt.Errorf("source epoch %.20q is not a number", e)
		}
		src.Epoch = int(n)
	}
	if !plain(source) || !plain(src.Version) || !plain(src.Release) {
		return errors.New("the source's name or version is not text")
	}
	p.Source = source
	if src.Version != "" {
		p.SourceVersion = src.EVR()
	}
	return nil
}

func property(props *[]cdx.Property, name string) string {
	if props == nil {
		return ""
	}
	for _, p := range *props {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// plain reports whether s is text that a name or a version may be.
func plain(s string) bool {
	if len(s) > maxName || !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r > 0x7e })
}
