package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/patchproof/patchproof/collector/inventory"
	"github.com/patchproof/patchproof/collector/sbom"
	"github.com/patchproof/patchproof/schema"
)

// matchInput names the file that says what is installed.
type matchInput struct{ sbom, report string }

// matchSubject is what is installed, and what of it could not be read.
type matchSubject struct {
	states  []inventory.State
	unread  []unjudged
	ignored map[string]int
}

// maxReport bounds the file of a report.
const maxReport = 256 << 20

func (in matchInput) read(stdin io.Reader) (*matchSubject, error) {
	name := in.sbom + in.report
	r := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("open input: %w", err)
		}
		defer func() { _ = f.Close() }()
		r = f
	}
	var (
		s   *matchSubject
		err error
	)
	if in.sbom != "" {
		s, err = readSBOM(r)
	} else {
		s, err = readReport(r)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

func readSBOM(r io.Reader) (*matchSubject, error) {
	doc, err := sbom.Parse(r)
	if err != nil {
		return nil, err
	}
	s := &matchSubject{states: doc.States, ignored: doc.Ignored}
	for _, c := range doc.Unread {
		name := c.Name
		if name == "" {
			name = c.PURL
		}
		s.unread = append(s.unread, unjudged{Package: name, Installed: c.Version, Reason: c.PURL + ": " + c.Reason})
	}
	return s, nil
}

// readReport reads a statement, or the agent's inventory.
func readReport(r io.Reader) (*matchSubject, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxReport+1))
	if err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	if len(data) > maxReport {
		return nil, fmt.Errorf("read report: more than %d MiB", maxReport>>20)
	}
	var doc struct {
		Type     string            `json:"_type"`
		Report   *schema.Report    `json:"report"`
		Packages *[]schema.Package `json:"packages"`
		Stale    []schema.Stale    `json:"stale"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	report, pkgs, stale := doc.Report, doc.Packages, doc.Stale
	switch {
	case doc.Type != "":
		if report, err = schema.DecodeStatement(bytes.TrimRight(data, "\r\n")); err != nil {
			return nil, fmt.Errorf("read statement: %w", err)
		}
		if pkgs, err = packagesIn(report); err != nil {
			return nil, fmt.Errorf("read statement: %w", err)
		}
		if stale, err = schema.DecodeStale(report.Bodies[schema.PartStale]); err != nil {
			return nil, fmt.Errorf("read statement: %w", err)
		}
	case report == nil || pkgs == nil:
		return nil, errors.New("read report: want the JSON of 'patchproof-agent inventory -o json', with a report and packages, or of a statement")
	}
	return subjectOf(report, *pkgs, stale), nil
}

// packagesIn decodes the package part. A host that could not list its packages
// says so by a gap instead of the part.
func packagesIn(r *schema.Report) (*[]schema.Package, error) {
	text, ok := r.Bodies[schema.PartPackages]
	if !ok {
		for _, p := range r.Parts {
			if p.Name == schema.PartPackages {
				return nil, errors.New("the packages go by digest only; give a statement that carries them")
			}
		}
		return &[]schema.Package{}, nil
	}
	pkgs, err := schema.DecodePackages(text)
	if err != nil {
		return nil, fmt.Errorf("packages: %w", err)
	}
	return &pkgs, nil
}

// subjectOf makes a state of a report. Packages without a name or version, and
// the gaps that may hide one or a kernel, are listed as not judged.
func subjectOf(r *schema.Report, pkgs []schema.Package, stale []schema.Stale) *matchSubject {
	s := &matchSubject{}
	state := inventory.State{
		Release: inventory.ReleaseOf(r.OS.ID, r.OS.VersionID),
		Kernel:  inventory.KernelOf(r.Kernel),
		Stale:   stale,
	}
	for _, p := range pkgs {
		if p.Name == "" || p.Version == "" || p.Format == "" {
			s.unread = append(s.unread, unjudged{Package: p.Name, Installed: p.EVR(), Reason: "the package has no name, version or format"})
			continue
		}
		state.Set.Packages = append(state.Set.Packages, p)
	}
	for _, g := range r.Gaps {
		switch g.Extractor {
		case "host", "imds", "spool": // say nothing of what is installed
		default:
			s.unread = append(s.unread, gapRow(g))
		}
	}
	s.states = []inventory.State{state}
	return s
}

func gapRow(g schema.Gap) unjudged {
	reason := "gap: " + g.Kind
	if g.Path != "" {
		reason += " " + g.Path
	}
	if g.Detail != "" {
		reason += ": " + g.Detail
	}
	return unjudged{Package: g.Extractor, Reason: reason}
}
