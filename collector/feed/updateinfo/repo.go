package updateinfo

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/patchproof/patchproof/collector/advisory"
	"github.com/patchproof/patchproof/collector/feed/unpack"
)

// maxRepomd bounds repomd.xml; real ones have some 10 kB. maxPacked bounds the
// updateinfo file it names.
const (
	maxRepomd = 1 << 20
	maxPacked = 256 << 20
)

// ErrNoUpdateinfo says that the repository publishes no advisories.
var ErrNoUpdateinfo = errors.New("repomd.xml names no updateinfo")

type repomd struct {
	XMLName xml.Name `xml:"repomd"`
	Data    []struct {
		Type     string `xml:"type,attr"`
		Checksum struct {
			Type  string `xml:"type,attr"`
			Value string `xml:",chardata"`
		} `xml:"checksum"`
		Location struct {
			Href string `xml:"href,attr"`
		} `xml:"location"`
		Size int64 `xml:"size"`
	} `xml:"data"`
}

// ParseRepo reads a repository's advisories through its repomd.xml, which lies
// in the root or in repodata/. The file it names must have the size and the
// checksum that it states.
func ParseRepo(fsys fs.FS, o Options) (advisory.Batch, error) {
	md, dir, err := openRepomd(fsys)
	if err != nil {
		return advisory.Batch{}, err
	}
	for _, d := range md.Data {
		if d.Type != "updateinfo" {
			continue
		}
		name := path.Join(dir, path.Base(d.Location.Href))
		if d.Location.Href == "" || !fs.ValidPath(path.Clean(d.Location.Href)) {
			return advisory.Batch{}, fmt.Errorf("repomd.xml: location %s is not a path inside the repository", quoted(d.Location.Href))
		}
		doc, err := verified(fsys, name, d.Size, d.Checksum.Type, strings.TrimSpace(d.Checksum.Value))
		if err != nil {
			return advisory.Batch{}, fmt.Errorf("%q: %w", name, err)
		}
		return Parse(bytes.NewReader(doc), name, o)
	}
	return advisory.Batch{}, ErrNoUpdateinfo
}

// openRepomd finds repomd.xml and says in which directory the metadata lies.
func openRepomd(fsys fs.FS) (repomd, string, error) {
	var md repomd
	for _, dir := range []string{"repodata", "."} {
		name := path.Join(dir, "repomd.xml")
		doc, err := readFile(fsys, name, maxRepomd)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return md, "", fmt.Errorf("%q: %w", name, err)
		}
		if bytes.Contains(doc, []byte("<!DOCTYPE")) {
			return md, "", fmt.Errorf("%q: a DOCTYPE is not allowed here", name)
		}
		if err := xml.Unmarshal(doc, &md); err != nil {
			return md, "", fmt.Errorf("%q: not a repomd document: %w", name, err)
		}
		return md, dir, nil
	}
	return md, "", fmt.Errorf("there is no repomd.xml: %w", fs.ErrNotExist)
}

// verified returns a file's bytes when they are those repomd.xml speaks of.
func verified(fsys fs.FS, name string, size int64, algorithm, sum string) ([]byte, error) {
	doc, err := readFile(fsys, name, maxPacked)
	if err != nil {
		return nil, err
	}
	if size != 0 && int64(len(doc)) != size {
		return nil, fmt.Errorf("it has %d bytes and repomd.xml states %d: the mirror is half-updated or the file is cut off; fetch both again", len(doc), size)
	}
	var h hash.Hash
	switch algorithm {
	case "sha256":
		h = sha256.New()
	case "sha512":
		h = sha512.New()
	default:
		return nil, fmt.Errorf("repomd.xml states a checksum of type %s, want sha256 or sha512", quoted(algorithm))
	}
	h.Write(doc)
	if got := hex.EncodeToString(h.Sum(nil)); !strings.EqualFold(got, sum) {
		return nil, fmt.Errorf("its %s is %s and repomd.xml states %s: fetch both again", algorithm, got, quoted(sum))
	}
	return doc, nil
}

func readFile(fsys fs.FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	doc, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(doc)) > limit {
		return nil, &unpack.LimitError{What: "the file's size in bytes", Limit: limit}
	}
	return doc, nil
}
