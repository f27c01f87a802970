package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zip"
)

// object keeps JSON short to write; encoding/json orders its keys.
type object = map[string]any

// writeOSV writes one OSV record a fix. IssuedKind changelog says what the date is.
func writeOSV(name string, fixes []fix) error {
	var buf bytes.Buffer
	zw := zip.NewWriter(&buf)
	zw.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	for _, f := range fixes {
		at := f.At.Format(time.RFC3339)
		doc, err := json.Marshal(object{
			"schema_version": "1.7.0",
			"id":             f.id(),
			"summary":        f.Source + " " + f.Version + " (Debian changelog)",
			"published":      at,
			"modified":       at,
			"upstream":       f.CVEs,
			"affected": []object{{
				"package": object{"ecosystem": "Debian:12", "name": f.Source},
				"ranges":  []object{{"type": "ECOSYSTEM", "events": []object{{"introduced": "0"}, {"fixed": f.Version}}}},
			}},
			"database_specific": object{"patchproof": object{"issued_kind": "changelog"}},
		})
		if err != nil {
			return err
		}
		w, err := zw.CreateHeader(&zip.FileHeader{Name: f.id() + ".json", Method: zip.Deflate})
		if err != nil {
			return err
		}
		if _, err := w.Write(doc); err != nil {
			return err
		}
	}
	if err := zw.Close(); err != nil {
		return err
	}
	return os.WriteFile(name, buf.Bytes(), 0o644)
}

// writeFacts writes a CVE record a line, with the metrics of the CNA and of CISA.
func writeFacts(from, name string, named map[string]bool) (int, error) {
	f, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	zr, err := gzip.NewReader(f)
	if err != nil {
		return 0, err
	}
	rows := csv.NewReader(zr)
	header, err := rows.Read()
	if err != nil {
		return 0, err
	}
	var lines []string
	for {
		fields, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		row := map[string]string{}
		for i, h := range header {
			row[h] = fields[i]
		}
		if !named[row["cve"]] || row["state"] != "PUBLISHED" {
			continue
		}
		line, err := factLine(row)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", row["cve"], err)
		}
		lines = append(lines, line)
	}
	slices.SortFunc(lines, strings.Compare)
	var buf bytes.Buffer
	zw, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return 0, err
	}
	if _, err := io.WriteString(zw, strings.Join(lines, "")); err != nil {
		return 0, err
	}
	if err := zw.Close(); err != nil {
		return 0, err
	}
	return len(lines), os.WriteFile(name, buf.Bytes(), 0o644)
}

func factLine(row map[string]string) (string, error) {
	cna, err := metrics(row, "cna")
	if err != nil {
		return "", err
	}
	adp, err := metrics(row, "adp")
	if err != nil {
		return "", err
	}
	if row["ssvc_exploitation"] != "" {
		adp = append(adp, object{"other": object{"type": "ssvc", "content": object{
			"id": row["cve"], "role": "CISA Coordinator", "version": "2.0.3", "timestamp": row["ssvc_ts"] + "T00:00:00Z",
			"options": []object{
				{"Exploitation": row["ssvc_exploitation"]},
				{"Automatable": row["ssvc_automatable"]},
				{"Technical Impact": row["ssvc_technical_impact"]},
			},
		}}})
	}
	line, err := json.Marshal(object{
		"dataType":    "CVE_RECORD",
		"dataVersion": "5.1",
		"cveMetadata": object{"cveId": row["cve"], "state": "PUBLISHED", "dateUpdated": row["updated"] + "T00:00:00Z"},
		"containers": object{
			"cna": object{"metrics": cna},
			"adp": []object{{
				"title":            "CISA ADP Vulnrichment",
				"providerMetadata": object{"orgId": "134c704f-9b21-4f2e-91b3-4a467353bcc0", "shortName": "CISA-ADP"},
				"metrics":          adp,
			}},
		},
	})
	return string(line) + "\n", err
}

// metrics restates the scores of one source. A row may hold several, by spaces.
func metrics(row map[string]string, source string) ([]object, error) {
	out := []object{}
	versions := strings.Fields(row[source+"_ver"])
	vectors := strings.Fields(row[source+"_vector"])
	scores := strings.Fields(row[source+"_score"])
	if len(vectors) != len(versions) || len(scores) != len(versions) {
		return nil, fmt.Errorf("%s has %d versions, %d vectors, %d scores", source, len(versions), len(vectors), len(scores))
	}
	for i, v := range versions {
		score, err := strconv.ParseFloat(scores[i], 64)
		if err != nil {
			return nil, err
		}
		out = append(out, object{v: object{
			"version":      strings.ReplaceAll(strings.TrimPrefix(v, "cvssV"), "_", "."),
			"vectorString": vectors[i],
			"baseScore":    score,
		}})
	}
	return out, nil
}

// writeKEV keeps CISA's own entries, whole, for the CVEs of the snapshot.
func writeKEV(from, name string, named map[string]bool) (int, error) {
	doc, err := os.ReadFile(from)
	if err != nil {
		return 0, err
	}
	var c struct {
		Version         string            `json:"catalogVersion"`
		Released        string            `json:"dateReleased"`
		Vulnerabilities []json.RawMessage `json:"vulnerabilities"`
	}
	if err := json.Unmarshal(doc, &c); err != nil {
		return 0, err
	}
	kept := []json.RawMessage{}
	for _, v := range c.Vulnerabilities {
		var e struct {
			CVE string `json:"cveID"`
		}
		if err := json.Unmarshal(v, &e); err != nil {
			return 0, err
		}
		if named[e.CVE] {
			kept = append(kept, v)
		}
	}
	out, err := json.MarshalIndent(object{
		"title":           "CISA Catalog of Known Exploited Vulnerabilities: the entries for CVEs in osv-debian-12.zip",
		"catalogVersion":  c.Version,
		"dateReleased":    c.Released,
		"count":           len(kept),
		"vulnerabilities": kept,
	}, "", " ")
	if err != nil {
		return 0, err
	}
	return len(kept), os.WriteFile(name, append(out, '\n'), 0o644)
}
