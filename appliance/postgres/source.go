package postgres

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// countingReader reports the progress of reading a file.
type countingReader struct {
	in       io.Reader
	progress *loadProgress
	name     string
}

// Read reads from the file.
func (r *countingReader) Read(b []byte) (int, error) {
	n, err := r.in.Read(b)
	r.progress.add(r.name, n)
	return n, err
}

// source is a file's unpacked content. It keeps a read error, which the program
// that reads the source takes for the end.
type source struct {
	in io.Reader
	// archive is set if pg_restore reads the source instead of psql.
	archive bool
	closers []func()

	mu  sync.Mutex
	err error
}

// formatError names the format of a file that can't be loaded as SQL.
type formatError struct{ what, hint string }

// Error names the format.
func (e *formatError) Error() string { return "the file " + e.what }

// sniffBytes covers the header of a tar archive.
const sniffBytes = 512

// maxPackings limits the layers of compression.
const maxPackings = 3

// openSource detects the format from the first bytes, and decompresses the file.
func openSource(raw io.Reader) (*source, error) {
	s := &source{in: raw}
	for range maxPackings {
		b := bufio.NewReaderSize(s.in, 64<<10)
		head, err := b.Peek(sniffBytes)
		if err != nil && !errors.Is(err, io.EOF) {
			s.close()
			return nil, err
		}
		s.in = b
		packed, err := s.unpack(b, head)
		if err == nil && !packed {
			s.archive, err = judgeHead(head)
		}
		if err != nil {
			s.close()
			return nil, err
		}
		if !packed {
			return s, nil
		}
	}
	s.close()
	return nil, &formatError{"is compressed more than twice", "unpack it and load the file in it"}
}

// unpack adds a decompressor if the head is that of a compressed file.
func (s *source) unpack(b io.Reader, head []byte) (bool, error) {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return false, err
		}
		s.in = z
	case bytes.HasPrefix(head, []byte("BZh")) && len(head) > 9 && bytes.Equal(head[4:10], []byte{0x31, 0x41, 0x59, 0x26, 0x53, 0x59}):
		s.in = bzip2.NewReader(b)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			return false, err
		}
		s.in, s.closers = z, append(s.closers, z.Close)
	default:
		return false, nil
	}
	return true, nil
}

// judgeHead tells archives of pg_dump from scripts, and refuses other formats.
func judgeHead(head []byte) (archive bool, err error) {
	const again = "; then run 'pgapp up' again"
	has := func(prefix string) bool { return bytes.HasPrefix(head, []byte(prefix)) }
	text := bytes.ToLower(bytes.TrimSpace(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))))
	tar := len(head) > 262 && string(head[257:262]) == "ustar"
	switch {
	case has("PGDMP"), tar && has("toc.dat\x00"):
		return true, nil
	case tar:
		return false, &formatError{"is a tar archive, but not one of pg_dump", "unpack it and load the SQL files in it" + again}
	case has("\xfd7zXZ\x00"):
		return false, &formatError{"is compressed by xz", "unpack it: xz -dc FILE | pgapp up … --sql -"}
	case has("\x04\x22\x4d\x18"):
		return false, &formatError{"is compressed by lz4", "unpack it: lz4 -dc FILE | pgapp up … --sql -"}
	case has("PK\x03\x04"):
		return false, &formatError{"is a zip archive", "unpack it: unzip -p FILE | pgapp up … --sql -"}
	case has("7z\xbc\xaf\x27\x1c"):
		return false, &formatError{"is a 7z archive", "unpack it and load the SQL files in it" + again}
	case has("SQLite format 3\x00"):
		return false, &formatError{"is an SQLite database", "convert it to PostgreSQL's SQL" + again}
	case has("\xff\xfe"), has("\xfe\xff"):
		return false, &formatError{"is UTF-16 text", "save it as UTF-8: iconv -f UTF-16 -t UTF-8 FILE | pgapp up … --sql -"}
	case bytes.IndexByte(head, 0) >= 0:
		return false, &formatError{"is not text", "give SQL, or output of pg_dump" + again}
	case bytes.HasPrefix(text, []byte("<!doctype")), bytes.HasPrefix(text, []byte("<html")), bytes.HasPrefix(text, []byte("<?xml")):
		return false, &formatError{"is a web page, not SQL", "download the file itself" + again}
	case len(text) == 0 && len(head) < sniffBytes:
		return false, &formatError{"is empty", "remove it from the command, or write it again" + again}
	}
	return false, nil
}

// Read returns decompressed bytes.
func (s *source) Read(b []byte) (int, error) {
	n, err := s.in.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.err = err
	}
	return n, err
}

func (s *source) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *source) close() {
	for _, c := range s.closers {
		c()
	}
}
