// Package osrelease reads which distribution release a root file system holds,
// from etc/os-release or, when that is not there, usr/lib/os-release.
//
// It takes the files as data: quotes and backslashes are undone as os-release(5)
// describes, and nothing is expanded or run, though the files are also shell
// assignments.
//
// Format: os-release(5).
package osrelease

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/patchproof/patchproof/schema"
)

// Extractor is the name gaps of this package carry.
const Extractor = "os-release"

// MaxSize is the most bytes read; real files have less than 1 KiB.
const MaxSize = 64 << 10

var paths = []string{"etc/os-release", "usr/lib/os-release"}

// Read reads the release of the root.
func Read(root fs.FS) (schema.OSRelease, []schema.Gap) {
	var gaps []schema.Gap
	for _, name := range paths {
		r, err := readFile(root, name)
		if err == nil {
			return r, gaps
		}
		if !errors.Is(err, fs.ErrNotExist) {
			gaps = append(gaps, gap(schema.GapUnreadable, name, err.Error()))
		}
	}
	if len(gaps) == 0 {
		gaps = append(gaps, gap(schema.GapUnreadable, paths[0], "there is none, nor "+paths[1]))
	}
	return schema.OSRelease{}, gaps
}

func gap(kind, name, detail string) schema.Gap {
	return schema.Gap{Extractor: Extractor, Kind: kind, Path: "/" + name, Detail: detail}
}

func readFile(root fs.FS, name string) (schema.OSRelease, error) {
	f, err := root.Open(name)
	if err != nil {
		return schema.OSRelease{}, err
	}
	defer func() { _ = f.Close() }()
	return Parse(f)
}

// Parse reads an os-release file. A file that names no ID is an error: nothing
// could be matched by it.
func Parse(r io.Reader) (schema.OSRelease, error) {
	limited := &io.LimitedReader{R: r, N: MaxSize + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(make([]byte, 0, 4096), MaxSize+1)
	values := make(map[string]string)
	for lines.Scan() {
		key, value, ok := assignment(lines.Text())
		if ok && used(key) {
			values[key] = value // the last one holds, as in a shell
		}
	}
	if err := lines.Err(); err != nil {
		return schema.OSRelease{}, fmt.Errorf("read os-release: %w", err)
	}
	if limited.N <= 0 {
		return schema.OSRelease{}, fmt.Errorf("read os-release: more than %d bytes", MaxSize)
	}
	return release(values)
}

func used(key string) bool {
	switch key {
	case "ID", "ID_LIKE", "VERSION_ID", "VERSION_CODENAME", "NAME", "PRETTY_NAME", "CPE_NAME":
		return true
	}
	return false
}

func release(values map[string]string) (schema.OSRelease, error) {
	r := schema.OSRelease{
		ID: strings.ToLower(values["ID"]), VersionID: values["VERSION_ID"], Codename: values["VERSION_CODENAME"],
		Name: values["NAME"], PrettyName: values["PRETTY_NAME"], CPEName: values["CPE_NAME"],
	}
	if r.ID == "" {
		return schema.OSRelease{}, errors.New("read os-release: no ID")
	}
	for like := range strings.FieldsSeq(strings.ToLower(values["ID_LIKE"])) {
		if len(r.IDLike) == schema.MaxIDLike {
			break
		}
		r.IDLike = append(r.IDLike, like)
	}
	return r, nil
}

// assignment splits KEY=value and undoes the value's quoting.
func assignment(line string) (key, value string, ok bool) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", "", false
	}
	key, value, ok = strings.Cut(line, "=")
	if !ok {
		return "", "", false
	}
	return key, unquote(value), true
}

// unquote undoes shell quoting as far as os-release(5) allows it: one pair of
// quotes around the value, and backslashes before characters special to a shell.
func unquote(s string) string {
	if s == "" {
		return ""
	}
	switch quote := s[0]; quote {
	case '\'':
		body, _, _ := strings.Cut(s[1:], "'")
		return body
	case '"':
		return unescape(s[1:], '"')
	}
	return unescape(s, ' ')
}

// unescape copies s up to the character end, dropping one backslash before each
// character it protects.
func unescape(s string, end byte) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == end:
			return b.String()
		case c == '\\' && i+1 < len(s) && (end != '"' || strings.IndexByte("\"$`\\", s[i+1]) >= 0):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
