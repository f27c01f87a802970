// Package sbom reads the list of what is on an asset from a CycloneDX document,
// so that it can be matched as if an agent had reported it.
//
// It is pure, and it hides nothing. A component is one of three things: a
// package of a distribution's release, and then part of a state; a package that
// cannot be read, and then listed in [Document.Unread] with the reason; or of a
// kind that package matching does not judge (language libraries, files), and
// then counted in [Document.Ignored]. Every component with a purl is counted
// exactly once, identical ones once together.
//
// Packages are named by purl (https://github.com/package-url/purl-spec), with
// the qualifiers of rpm, deb and apk: arch, distro, epoch, upstream, rpmmod. The
// release of a package is that of its distro qualifier, else of the document's
// operating system; a package with neither is in a state of the zero release,
// which no feed covers.
//
// The format is CycloneDX in JSON, https://cyclonedx.org/specification/overview/.
package sbom

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/schema"
)

// Limits of a document.
const (
	MaxBytes      = 128 << 20
	MaxComponents = 500_000
)

// Errors of a document as a whole.
var (
	ErrTooLarge = errors.New("too large")
	ErrFormat   = errors.New("not a CycloneDX JSON document")
)

// Document is what a software bill of materials says.
type Document struct {
	// States holds one state a release, ordered by release. None of them knows a
	// running kernel.
	States []inventory.State
	// Unread are components that are, or may be, packages and cannot be read.
	Unread []Component
	// Ignored counts components that are not judged, by purl type; those of
	// software without a purl under NoPURL.
	Ignored map[string]int
}

// NoPURL is the key of Document.Ignored for software without a purl.
const NoPURL = "no purl"

// Component is one component as the document names it.
type Component struct {
	Name    string
	Version string
	PURL    string
	// Reason says why it cannot be read.
	Reason string
}

// Parse reads a CycloneDX JSON document.
func Parse(r io.Reader) (*Document, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read SBOM: %w", err)
	}
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("read SBOM: %w: more than %d MiB", ErrTooLarge, MaxBytes>>20)
	}
	var bom cdx.BOM
	if err := json.Unmarshal(data, &bom); err != nil {
		return nil, fmt.Errorf("read SBOM: %w: %w", ErrFormat, err)
	}
	if bom.BOMFormat != "CycloneDX" {
		return nil, fmt.Errorf("read SBOM: %w: bomFormat is %.40q, want CycloneDX", ErrFormat, bom.BOMFormat)
	}
	all, err := flatten(&bom)
	if err != nil {
		return nil, fmt.Errorf("read SBOM: %w", err)
	}
	return read(all), nil
}

// flatten lists every component, nested ones included.
func flatten(bom *cdx.BOM) ([]*cdx.Component, error) {
	var out []*cdx.Component
	if bom.Metadata != nil && bom.Metadata.Component != nil {
		out = append(out, bom.Metadata.Component)
	}
	out = appendAll(out, bom.Components)
	for i := 0; i < len(out); i++ {
		if len(out) > MaxComponents {
			return nil, fmt.Errorf("%w: more than %d components", ErrTooLarge, MaxComponents)
		}
		out = appendAll(out, out[i].Components)
	}
	return out, nil
}

func appendAll(out []*cdx.Component, more *[]cdx.Component) []*cdx.Component {
	if more == nil {
		return out
	}
	for i := range *more {
		out = append(out, &(*more)[i])
	}
	return out
}

// read sorts components into what they are.
func read(all []*cdx.Component) *Document {
	doc := &Document{Ignored: map[string]int{}}
	system := systemOf(all)
	states := map[inventory.Release]*inventory.State{}
	type installed struct {
		release inventory.Release
		pkg     schema.Package
	}
	seen := map[installed]bool{}
	for _, c := range all {
		if c.PackageURL == "" {
			if isSoftware(c.Type) {
				doc.Ignored[NoPURL]++
			}
			continue
		}
		p, r, err := packageOf(c, system)
		if other, ok := errors.AsType[otherType](err); ok {
			doc.Ignored[string(other)]++
			continue
		}
		if err != nil {
			doc.Unread = append(doc.Unread, Component{Name: c.Name, Version: c.Version, PURL: c.PackageURL, Reason: err.Error()})
			continue
		}
		key := installed{r, p}
		if seen[key] {
			continue
		}
		seen[key] = true
		if states[r] == nil {
			states[r] = &inventory.State{Release: r}
		}
		states[r].Set.Packages = append(states[r].Set.Packages, p)
	}
	for _, s := range states {
		slices.SortFunc(s.Set.Packages, comparePackages)
		doc.States = append(doc.States, *s)
	}
	slices.SortFunc(doc.States, func(a, b inventory.State) int {
		return cmp.Or(strings.Compare(a.Release.Distro, b.Release.Distro), strings.Compare(a.Release.Version, b.Release.Version))
	})
	slices.SortFunc(doc.Unread, func(a, b Component) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version), strings.Compare(a.PURL, b.PURL))
	})
	doc.Unread = slices.Compact(doc.Unread)
	return doc
}

// isSoftware reports whether a component of this type is software that has a
// name and version of its own: the rest (files, the container, the operating
// system, hardware) is not missed when it has no purl.
func isSoftware(t cdx.ComponentType) bool {
	switch t {
	case cdx.ComponentTypeLibrary, cdx.ComponentTypeFramework, cdx.ComponentTypeApplication:
		return true
	default:
		return false
	}
}

func comparePackages(a, b schema.Package) int {
	return cmp.Or(
		strings.Compare(a.Name, b.Name), strings.Compare(a.Arch, b.Arch), strings.Compare(a.EVR(), b.EVR()),
		strings.Compare(string(a.Format), string(b.Format)), strings.Compare(a.Source, b.Source),
		strings.Compare(a.SourceVersion, b.SourceVersion), strings.Compare(a.Module, b.Module),
	)
}
