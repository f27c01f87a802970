package unpack_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/patchproof/patchproof/collector/feed/unpack"
)

func gzipped(tb testing.TB, text []byte) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(text); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

type file struct{ name, body string }

func zipped(tb testing.TB, files ...file) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, f := range files {
		fw, err := w.Create(f.name)
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(fw, f.body); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// stored is an archive that packs nothing.
func stored(tb testing.TB, name string, body []byte) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	fw, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := fw.Write(body); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func readStream(doc []byte) (string, error) {
	r, err := unpack.Stream(bytes.NewReader(doc))
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(r)
	return string(text), err
}

func TestStream(t *testing.T) {
	for name, doc := range map[string][]byte{
		"plain":                []byte("text"),
		"plain_with_mark":      []byte("\xef\xbb\xbftext"),
		"gzip":                 gzipped(t, []byte("text")),
		"gzip_with_mark":       gzipped(t, []byte("\xef\xbb\xbftext")),
		"gzip_of_two_members":  append(gzipped(t, []byte("te")), gzipped(t, []byte("xt"))...),
		"shorter_than_a_mark":  []byte("text"),
		"plain_without_a_mark": []byte("text"),
	} {
		if got, err := readStream(doc); got != "text" || err != nil {
			t.Errorf("%s: got %q, %v; want text", name, got, err)
		}
	}
}

func TestStreamRefuses(t *testing.T) {
	whole := gzipped(t, bytes.Repeat([]byte("a line of text\n"), 1000))
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-6] ^= 1
	var limit *unpack.LimitError
	for _, tt := range []struct {
		name string
		doc  []byte
		want func(error) bool
	}{
		{"nothing", nil, func(err error) bool { return errors.Is(err, unpack.ErrEmpty) }},
		{"only_a_mark", []byte("\xef\xbb\xbf"), func(err error) bool { return errors.Is(err, unpack.ErrEmpty) }},
		{"gzip_of_nothing", gzipped(t, nil), func(err error) bool { return errors.Is(err, unpack.ErrEmpty) }},
		{"half_a_header", whole[:5], func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		{"cut_off", whole[:len(whole)-20], func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		{"without_its_sum", whole[:len(whole)-8], func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		{"wrong_sum", flipped, func(err error) bool { return err != nil && strings.Contains(err.Error(), "gunzip after") }},
		{"bomb", gzipped(t, make([]byte, 64<<20)), func(err error) bool { return errors.As(err, &limit) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := readStream(tt.doc); !tt.want(err) {
				t.Errorf("got %d bytes, error %v", len(got), err)
			}
		})
	}
}

func collect(t *testing.T, rs *unpack.Records) ([]string, error) {
	t.Helper()
	got := make([]string, rs.Len())
	var mu sync.Mutex
	err := rs.Each(func(_, i int, body []byte) error {
		mu.Lock()
		defer mu.Unlock()
		got[i] = rs.Name(i) + "=" + string(body)
		return nil
	})
	return got, err
}

func TestZipGivesRecordsInOrderOfName(t *testing.T) {
	doc := zipped(t, file{"b.json", "2"}, file{"dir/", ""}, file{"../../a.json", "\xef\xbb\xbf1"}, file{"c.json", "3"})
	rs, err := unpack.Zip(bytes.NewReader(doc), int64(len(doc)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := collect(t, rs)
	if want := "[../../a.json=1 b.json=2 c.json=3]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v, %v; want %s", got, err, want)
	}
	sum, err := rs.Digest()
	want, _ := unpack.Digest(bytes.NewReader(doc))
	if err != nil || sum != want {
		t.Errorf("digest is %s, %v; want that of the bytes, %s", sum, err, want)
	}
}

func TestZipNamesTheFirstFaultWhateverTheOrderOfWork(t *testing.T) {
	files := make([]file, 60)
	for i := range files {
		files[i] = file{fmt.Sprintf("%03d.json", i), "x"}
	}
	doc := zipped(t, files...)
	for range 50 {
		rs, err := unpack.Zip(bytes.NewReader(doc), int64(len(doc)))
		if err != nil {
			t.Fatal(err)
		}
		err = rs.Each(func(_, i int, _ []byte) error {
			if i >= 17 {
				return fmt.Errorf("fault %d", i)
			}
			return nil
		})
		if err == nil || err.Error() != `"017.json": fault 17` {
			t.Fatalf("got %v, want the fault of 017.json", err)
		}
	}
}

func TestZipRefuses(t *testing.T) {
	whole := zipped(t, file{"a.json", strings.Repeat("abc", 1000)}, file{"b.json", "{}"})
	damaged := bytes.Clone(whole)
	damaged[60] ^= 0xff
	for _, tt := range []struct {
		name, want string
		doc        []byte
	}{
		{"nothing", "is empty", nil},
		{"not_an_archive", "table of contents", []byte("PK but nothing more")},
		{"cut_off", "table of contents", whole[:len(whole)-30]},
		{"no_files", "is empty", zipped(t)},
		{"only_a_directory", "is empty", zipped(t, file{"dir/", ""})},
		{"a_name_twice", `"a.json" is there twice`, zipped(t, file{"a.json", "1"}, file{"a.json", "2"})},
		{"an_empty_record", `"\x1b[2J.json": is empty`, zipped(t, file{"\x1b[2J.json", ""})},
		{"damaged", `"a.json": read after`, damaged},
		{"bomb", "ratio", zipped(t, file{"a.json", strings.Repeat(" ", 16<<20)})},
		{"only_a_mark", `"a.json": is empty`, zipped(t, file{"a.json", "\xef\xbb\xbf"})},
		{"record_too_large", "the record's size", stored(t, "a.json", make([]byte, unpack.MaxRecord+1))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rs, err := unpack.Zip(bytes.NewReader(tt.doc), int64(len(tt.doc)))
			if err == nil {
				_, err = collect(t, rs)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// TestZipOfOverlappingRecordsIsABomb points many directory entries at the same
// packed bytes, as the densest bombs do: each record is within its ratio, and
// all together are not.
func TestZipOfOverlappingRecordsIsABomb(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef the quick brown fox jumps over the lazy dog\n"), 10000)
	one := zipped(t, file{"a.json", string(body)})
	eocd := bytes.LastIndex(one, []byte("PK\x05\x06"))
	start := int(binary.LittleEndian.Uint32(one[eocd+16:]))
	entry := one[start:eocd]
	const copies = 5000
	var doc []byte
	doc = append(doc, one[:start]...)
	for i := range copies {
		e := bytes.Clone(entry)
		doc = append(doc, e[:46]...)
		doc = append(doc, fmt.Sprintf("%06d", i)...)
		doc = append(doc, e[46+6:]...)
	}
	end := bytes.Clone(one[eocd:])
	binary.LittleEndian.PutUint16(end[8:], copies)
	binary.LittleEndian.PutUint16(end[10:], copies)
	binary.LittleEndian.PutUint32(end[12:], uint32(copies*len(entry)))
	doc = append(doc, end...)
	rs, err := unpack.Zip(bytes.NewReader(doc), int64(len(doc)))
	if err != nil {
		t.Fatal(err)
	}
	if rs.Len() != copies {
		t.Fatalf("the bomb has %d entries, want %d", rs.Len(), copies)
	}
	err = rs.Each(func(_, _ int, _ []byte) error { return nil })
	if _, ok := errors.AsType[*unpack.LimitError](err); !ok {
		t.Errorf("got %v, want a limit", err)
	}
}

func TestZipWithAHugeTableOfContents(t *testing.T) {
	var entry bytes.Buffer
	entry.WriteString("PK\x01\x02")
	entry.Write(make([]byte, 42))
	doc := bytes.Repeat(entry.Bytes(), 60<<20/46)
	var end bytes.Buffer
	end.WriteString("PK\x05\x06")
	for _, v := range []any{uint16(0), uint16(0), uint16(0xffff), uint16(0xffff), uint32(len(doc)), uint32(0), uint16(0)} {
		if err := binary.Write(&end, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	doc = append(doc, end.Bytes()...)
	if _, err := unpack.Zip(bytes.NewReader(doc), int64(len(doc))); err == nil || !strings.Contains(err.Error(), "table of contents is too large") {
		t.Errorf("got %v, want a table of contents that is too large", err)
	}
}

func TestDir(t *testing.T) {
	fsys := fstest.MapFS{
		"2024/b.json": {Data: []byte("2")},
		"a.json":      {Data: []byte("1")},
		"README.md":   {Data: []byte("no record")},
	}
	rs, err := unpack.Dir(fsys)
	if err != nil {
		t.Fatal(err)
	}
	got, err := collect(t, rs)
	if want := "[2024/b.json=2 a.json=1]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v, %v; want %s", got, err, want)
	}
	sum, err := rs.Digest()
	if err != nil {
		t.Fatal(err)
	}
	list := digestOf(t, "2") + "  2024/b.json\n" + digestOf(t, "1") + "  a.json\n"
	if want := digestOf(t, list); sum != want {
		t.Errorf("digest is %s, want %s", sum, want)
	}
	if _, err := unpack.Dir(fstest.MapFS{"README.md": {Data: []byte("x")}}); !errors.Is(err, unpack.ErrEmpty) {
		t.Errorf("a directory without records gives %v, want ErrEmpty", err)
	}
}

func digestOf(t *testing.T, s string) string {
	t.Helper()
	sum, err := unpack.Digest(strings.NewReader(s))
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func FuzzZip(f *testing.F) {
	f.Add(zipped(f, file{"a.json", "{}"}, file{"b.json", "[]"}))
	f.Add(zipped(f, file{"a.json", strings.Repeat(" ", 4<<20)}))
	f.Fuzz(func(t *testing.T, doc []byte) {
		rs, err := unpack.Zip(bytes.NewReader(doc), int64(len(doc)))
		if err != nil {
			return
		}
		err = rs.Each(func(_, _ int, body []byte) error {
			if len(body) == 0 {
				t.Error("an empty record was handed out")
			}
			return nil
		})
		_ = err
	})
}

func FuzzStream(f *testing.F) {
	f.Add([]byte("text"))
	f.Add(gzipped(f, []byte("text")))
	f.Fuzz(func(_ *testing.T, doc []byte) { _, _ = readStream(doc) })
}
