package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"syscall"
)

// bbolt's file format, version 2 (its internal/common): pages begin with a
// header of 16 bytes; pages 0 and 1 are the two meta pages.
const (
	pageHeader  = 16
	metaBytes   = 64
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagMeta     = 0x04
	flagFreelist = 0x10
)

// meta is one of the two meta pages.
type meta struct {
	root, freelist, pages, txid uint64
}

// inspectFile checks the database before bbolt touches it, since bbolt takes
// an empty file for a new database and may crash the process, in goroutines of
// its own, on a damaged one. A refused file is a problem store-damaged.
func inspectFile(path string) (err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("opening the state %q: %w", path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fi, err := f.Stat()
	if err != nil {
		return fmt.Errorf("looking at the state %q: %w", path, err)
	}
	if err := inspect(f, fi.Size()); err != nil {
		return damaged(path, "%w", err)
	}
	return nil
}

// inspect checks both meta pages, the size, and the whole tree.
func inspect(r io.ReaderAt, size int64) error {
	if size == 0 {
		return errors.New("it is empty")
	}
	if size < 4*pageSize {
		return fmt.Errorf("it has only %d bytes", size)
	}
	newest, err := readMetas(r)
	if err != nil {
		return err
	}
	if need := newest.pages * pageSize; newest.pages < 4 || need/pageSize != newest.pages || need > uint64(size) {
		return fmt.Errorf("it is cut off: %d bytes for %d pages of %d", size, newest.pages, pageSize)
	}
	return walk(r, newest)
}

// readMetas returns the newer meta page, or an error unless both are sound. bbolt
// accepts a single one, and so silently drops the last transaction. A power cut
// leaves no half meta page, since the page's data are in one sector.
func readMetas(r io.ReaderAt) (meta, error) {
	var newest meta
	for id := range uint64(2) {
		b := make([]byte, pageHeader+metaBytes)
		if _, err := r.ReadAt(b, int64(id)*pageSize); err != nil { // #nosec G115 -- 0 or 1
			return meta{}, fmt.Errorf("reading meta page %d: %w", id, err)
		}
		m, err := parseMeta(b, id)
		if err != nil {
			return meta{}, fmt.Errorf("meta page %d: %w", id, err)
		}
		if id == 0 || m.txid > newest.txid {
			newest = m
		}
	}
	return newest, nil
}

func parseMeta(page []byte, id uint64) (meta, error) {
	le := binary.LittleEndian
	b := page[pageHeader:]
	switch {
	case le.Uint64(page) != id || le.Uint16(page[8:]) != flagMeta:
		return meta{}, errors.New("its header is wrong")
	case le.Uint32(b) != boltMagic:
		return meta{}, errors.New("this is no bbolt database")
	case le.Uint32(b[4:]) != boltVersion:
		return meta{}, fmt.Errorf("bbolt file version %d is unknown", le.Uint32(b[4:]))
	case le.Uint32(b[8:]) != pageSize:
		return meta{}, fmt.Errorf("page size %d is not pgapp's", le.Uint32(b[8:]))
	}
	h := fnv.New64a()
	_, _ = h.Write(b[:56]) // a hash never fails
	if h.Sum64() != le.Uint64(b[56:]) {
		return meta{}, errors.New("its checksum is wrong")
	}
	return meta{root: le.Uint64(b[16:]), freelist: le.Uint64(b[32:]), pages: le.Uint64(b[40:]), txid: le.Uint64(b[48:])}, nil
}
