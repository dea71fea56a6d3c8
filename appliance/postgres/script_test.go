package postgres

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

func zstandard(s string) string {
	var b bytes.Buffer
	w, _ := zstd.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

// bzip2Of is "SELECT 1;\n", packed by bzip2.
const bzip2Of = "BZh91AY&SY\xbe7\xc6\xe5\x00\x00\x04^\x00\x00\x10@\x00 \x08\x0a\x04\x0c\x00 \x00\x22\x06\x86\xd4 \xc9\x88B\xcee\xb3\xc5\xdc\x91N\x14$/\x8d\xf1\xb9@"

func tarOf(name string) string {
	head := make([]byte, 1024)
	copy(head, name)
	copy(head[257:], "ustar")
	return string(head)
}

func TestOpenSourceUnpacks(t *testing.T) {
	t.Parallel()
	const sql = "SELECT 1;\n"
	for _, c := range []struct{ name, in string }{
		{"plain", sql},
		{"gzip", gzipped(sql)},
		{"gzip in two parts", gzipped(sql[:5]) + gzipped(sql[5:])},
		{"zstd", zstandard(sql)},
		{"bzip2", bzip2Of},
		{"twice", gzipped(zstandard(sql))},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
			src, err := openSource(r)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			got, err := io.ReadAll(src)
			if err != nil || string(got) != sql || src.archive {
				t.Errorf("%s: %q, %v, archive %v", c.name, got, err, src.archive)
			}
			src.close()
		}
	}
}

func TestOpenSourceNamesTheFormat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"", "is empty"},
		{" \n\t\n", "is empty"},
		{"\xef\xbb\xbf", "is empty"},
		{gzipped(""), "is empty"},
		{"\xff\xfeS\x00E\x00", "is UTF-16 text"},
		{"S\x00E\x00L\x00", "is not text"},
		{"PK\x03\x04aaaa", "is a zip archive"},
		{"\xfd7zXZ\x00", "is compressed by xz"},
		{"\x04\x22\x4d\x18", "is compressed by lz4"},
		{"SQLite format 3\x00", "is an SQLite database"},
		{"\n<!DOCTYPE html><html>", "is a web page"},
		{"<HTML>", "is a web page"},
		{tarOf("dump.sql"), "is a tar archive"},
		{gzipped(tarOf("dump.sql")), "is a tar archive"},
		{gzipped(gzipped(gzipped("x"))), "is compressed more than twice"},
	} {
		_, err := openSource(strings.NewReader(c.in))
		var format *formatError
		if !errors.As(err, &format) || !strings.HasPrefix(format.what, c.want) || format.hint == "" {
			t.Errorf("%.20q: got %v, want %q", c.in, err, c.want)
		}
	}
	for _, in := range []string{"PGDMP\x01\x0f", tarOf("toc.dat"), gzipped("PGDMP\x01\x0f")} {
		if src, err := openSource(strings.NewReader(in)); err != nil || !src.archive {
			t.Errorf("%.20q: %v", in, err)
		}
	}
	for _, in := range []string{"-- a comment only\n", "\xef\xbb\xbfSELECT 1", "BZh is no bzip2", "<b>"} {
		if src, err := openSource(strings.NewReader(in)); err != nil || src.archive {
			t.Errorf("%.20q: %v", in, err)
		}
	}
}

func TestSourceKeepsReadError(t *testing.T) {
	t.Parallel()
	whole := gzipped(strings.Repeat("SELECT 1;\n", 1000))
	src, err := openSource(strings.NewReader(whole[:len(whole)-6]))
	if err == nil {
		_, err = io.ReadAll(newScriptReader(src, "END"))
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a gzip file that is cut off: %v", err)
	}
}

func TestScriptReaderAppendsQuery(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("SELECT 1;\n", 20)
	for _, c := range []struct {
		name, in, want string
		lines          int
	}{
		{"whole lines", "a;\nb;\n", "a;\nb;\n", 2},
		{"an open line", "a;\nb", "a;\nb\n", 2},
		{"quit", "a;\n\\q\n", "a;\n", 1},
		{"quit and blanks", "a;\n  \\quit ; \r\n\n", "a;\n", 1},
		{"quit alone", "\\q", "\n", 1},
		{"quit before the end", "\\q\na;\n", "\\q\na;\n", 2},
		{"no quit", "a\\q\n", "a\\q\n", 1},
		{"a long one", long + "\\q\n", long, 20},
		{"one that is held back", long, long, 20},
		{"half a line of blanks", "\\q" + strings.Repeat(" ", 100), "\\q" + strings.Repeat(" ", 100) + "\n", 1},
	} {
		for _, in := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in)), iotest.DataErrReader(strings.NewReader(c.in))} {
			r := newScriptReader(&source{in: in}, "END")
			got, err := io.ReadAll(iotest.OneByteReader(r))
			if err != nil || string(got) != c.want+"END" || r.lines() != c.lines {
				t.Errorf("%s: %q, %d lines, %v", c.name, got, r.lines(), err)
			}
		}
	}
}

func TestAnswerWriterKeepsOnlyAnswer(t *testing.T) {
	t.Parallel()
	w := &answerWriter{nonce: "abc"}
	for _, b := range []byte(strings.Repeat("x", 5000) + "\n\\echo abc :a\nabc 1 2\nTime: 0.1 ms\n") {
		if n, err := w.Write([]byte{b}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := strings.Join(w.fields(), ","); got != "1,2" {
		t.Errorf("the answer is %q", got)
	}
}

func TestLoadStateOfMarks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		exists bool
		mark   string
		want   LoadState
	}{
		{false, "none", LoadAbsent},
		{false, "done", LoadAbsent},
		{false, "begun", LoadUnfinished},
		{true, "begun", LoadUnfinished},
		{true, "none", LoadForeign},
		{true, "done", LoadFinished},
	} {
		if got := loadState(c.exists, c.mark); got != c.want {
			t.Errorf("exists %v, mark %s: %s, want %s", c.exists, c.mark, got, c.want)
		}
	}
}
