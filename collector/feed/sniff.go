package feed

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// sniffText tells what a text is from how it begins.
func sniffText(text *bufio.Reader) (kind, error) {
	head, err := text.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return kindUnknown, err
	}
	head = bytes.TrimLeft(head, " \t\r\n")
	switch {
	case bytes.HasPrefix(head, []byte("{")):
		return sniffJSON(text)
	case bytes.HasPrefix(head, []byte("<")):
		return sniffXML(head)
	case bytes.HasPrefix(head, []byte("#model_version")), bytes.HasPrefix(head, []byte("cve,")), bytes.HasPrefix(head, []byte("CVE-")):
		return kindEPSS, nil
	default:
		return kindUnknown, ErrUnknown
	}
}

// sniffXML leaves the rest to the parser, which names what it finds instead.
func sniffXML(head []byte) (kind, error) {
	if bytes.Contains(head, []byte("<repomd")) {
		return kindUnknown, fmt.Errorf("%w: this is a repomd.xml; give the directory of the repository, so that the file it names can be checked", ErrUnknown)
	}
	return kindUpdateinfo, nil
}

// sniffJSON reads top-level keys until one tells.
func sniffJSON(text io.Reader) (kind, error) {
	d := json.NewDecoder(text)
	if _, err := d.Token(); err != nil {
		return kindUnknown, brokenJSON(d, err)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return kindUnknown, brokenJSON(d, err)
		}
		switch key {
		case "catalogVersion", "dateReleased":
			return kindKEV, nil
		case "dataType", "cveMetadata", "containers":
			return kindCVE, nil
		case "schema_version", "affected", "id", "modified":
			return kindOSV, nil
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return kindUnknown, brokenJSON(d, err)
		}
	}
	if _, err := d.Token(); err != nil {
		return kindUnknown, brokenJSON(d, err)
	}
	return kindUnknown, fmt.Errorf("%w: JSON without the keys of an OSV record, a CVE record or a KEV catalogue", ErrUnknown)
}

func brokenJSON(d *json.Decoder, err error) error {
	return fmt.Errorf("broken JSON at byte %d: %w", d.InputOffset(), err)
}
