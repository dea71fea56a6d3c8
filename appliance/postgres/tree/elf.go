package tree

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
)

// patcher replaces the placeholder in the archive's programs by the path of the
// tree's loader. Linux allows no relative path there.
type patcher struct {
	prefix      []byte
	interpreter string
}

type readWriterAt interface {
	io.ReaderAt
	io.WriterAt
}

// patch overwrites the placeholder in f in place and pads it with NUL, which ends
// the path for the kernel and the loader. Files that are not ELF, or that have
// another loader, such as libc.so.6, are not changed.
func (p patcher) patch(f readWriterAt) (changed bool, err error) {
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := f.ReadAt(magic, 0); err != nil || string(magic) != elf.ELFMAG {
		return false, nil //nolint:nilerr // shorter than the magic, so not ELF
	}
	file, err := elf.NewFile(f)
	if err != nil {
		return false, fmt.Errorf("reading an ELF header: %w", err)
	}
	for _, prog := range file.Progs {
		if prog.Type != elf.PT_INTERP {
			continue
		}
		if prog.Filesz > 4096 {
			return false, errors.New("an interpreter's path is longer than any path")
		}
		old := make([]byte, prog.Filesz)
		if _, err := f.ReadAt(old, int64(prog.Off)); err != nil {
			return false, fmt.Errorf("reading an interpreter's path: %w", err)
		}
		if !bytes.HasPrefix(old, p.prefix) {
			return false, nil
		}
		if len(p.interpreter) >= len(old) {
			return false, fmt.Errorf("%q is longer than the %d bytes that a program has for its loader's path",
				p.interpreter, len(old)-1)
		}
		clear(old)
		copy(old, p.interpreter)
		if _, err := f.WriteAt(old, int64(prog.Off)); err != nil {
			return false, fmt.Errorf("writing an interpreter's path: %w", err)
		}
		return true, nil
	}
	return false, nil
}
