package feed

import (
	"archive/zip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Document is one feed as it travels to a collector: a file, or a directory
// packed into an archive on its way.
type Document struct {
	// Name is the path as people know it.
	Name string
	Open func() (io.ReadCloser, error)
}

// Documents lists what a path holds, in the terms of Load: a file is one
// document, a directory of records or a repository is one, a directory of
// several feeds is each of them.
func Documents(name string) ([]Document, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("read feed: %w", err)
	}
	if !st.IsDir() {
		return []Document{{Name: name, Open: func() (io.ReadCloser, error) { return os.Open(name) }}}, nil
	}
	if isRepository(name) {
		return []Document{packed(name, repositoryFile)}, nil
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, fmt.Errorf("read feed: %w", err)
	}
	k, err := recordsOf(name, entries)
	if err != nil {
		return nil, fmt.Errorf("read feed: %s: %w", name, withHint(err))
	}
	if k != kindUnknown {
		return []Document{packed(name, jsonFile)}, nil
	}
	var docs []Document
	for _, e := range entries {
		if aside(e) {
			continue
		}
		more, err := Documents(filepath.Join(name, e.Name()))
		if err != nil {
			return nil, err
		}
		docs = append(docs, more...)
	}
	if len(docs) == 0 {
		return nil, fmt.Errorf("read feed: %s: %w", name, withHint(ErrUnknown))
	}
	return docs, nil
}

func isRepository(dir string) bool {
	for _, md := range []string{"repomd.xml", "repodata/repomd.xml"} {
		if _, err := os.Stat(filepath.Join(dir, md)); err == nil {
			return true
		}
	}
	return false
}

// repositoryFile keeps repomd.xml and the updateinfo files beside it.
func repositoryFile(rel string) bool {
	base := filepath.Base(rel)
	return base == "repomd.xml" || strings.Contains(base, "updateinfo")
}

func jsonFile(rel string) bool { return strings.EqualFold(filepath.Ext(rel), ".json") }

// packed is a directory's files, those that keep wants, as an archive that is
// written while it is read.
func packed(dir string, keep func(rel string) bool) Document {
	return Document{Name: dir, Open: func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { _ = w.CloseWithError(pack(w, os.DirFS(dir), keep)) }()
		return r, nil
	}}
}

func pack(w io.Writer, fsys fs.FS, keep func(rel string) bool) error {
	zw := zip.NewWriter(w)
	err := fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !keep(path) {
			return err
		}
		f, err := fsys.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		entry, err := zw.Create(path)
		if err != nil {
			return err
		}
		_, err = io.Copy(entry, f)
		return err
	})
	if err != nil {
		return err
	}
	return zw.Close()
}
