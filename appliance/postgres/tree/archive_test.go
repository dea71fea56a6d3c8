package tree_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/s2"

	"pgapp/appliance/postgres/tree"
)

const (
	binPath     = "usr/lib/postgresql/17/bin"
	postgres    = binPath + "/postgres"
	placeholder = "/placeholder/"
)

// entry is one member of a test archive. A zero kind is a regular file.
type entry struct {
	name, body, link string
	mode             int64
	kind             byte
}

// usual is a small tree with all that a real one has.
func usual(t *testing.T) []entry {
	t.Helper()
	return []entry{
		{name: "usr/", kind: tar.TypeDir, mode: 0o700},
		{name: postgres, body: program(t, placeholder+strings.Repeat("x", 500)), mode: 0o700},
		{name: binPath + "/script", body: "#!/bin/sh\n", mode: 0o755},
		{name: "lib/libc.so.6", body: program(t, "/lib64/ld-linux-x86-64.so.2"), mode: 0o755},
		{name: "lib/libpq.so.5.17", body: "not really a library", mode: 0o600},
		{name: "lib/libpq.so.5", link: "libpq.so.5.17", kind: tar.TypeSymlink},
		{name: "usr/share/empty", mode: 0o644},
	}
}

// program returns an ELF file of nothing but headers and an interpreter.
func program(t *testing.T, interpreter string) string {
	t.Helper()
	var b bytes.Buffer
	header := elf.Header64{
		Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64,
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	size := uint64(len(interpreter) + 1)
	for _, part := range []any{
		header,
		elf.Prog64{Type: uint32(elf.PT_INTERP), Off: 120, Filesz: size, Memsz: size},
		[]byte(interpreter + "\x00after"),
	} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// interpreter returns the loader that an ELF file names.
func interpreter(t *testing.T, raw []byte) string {
	t.Helper()
	file, err := elf.NewFile(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	for _, prog := range file.Progs {
		path := make([]byte, prog.Filesz)
		if _, err := prog.ReadAt(path, 0); err != nil {
			t.Fatal(err)
		}
		if prog.Type == elf.PT_INTERP {
			return strings.TrimRight(string(path), "\x00")
		}
	}
	return ""
}

func tarOf(t *testing.T, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		err := w.WriteHeader(&tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.body))})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pack(t *testing.T, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := s2.NewWriter(&b)
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// manifestFor describes an archive; change may make it wrong.
func manifestFor(packed []byte, unpacked int, change func(*tree.Manifest)) tree.Manifest {
	sum := sha256.Sum256(packed)
	m := tree.Manifest{
		Version: "17.12", Arch: runtime.GOARCH, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(packed)),
		UnpackedSize: int64(unpacked), Interpreter: "lib/ld.so", PlaceholderPrefix: placeholder,
	}
	if change != nil {
		change(&m)
	}
	return m
}

func filesOf(t *testing.T, m tree.Manifest, packed []byte) fs.FS {
	t.Helper()
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{
		"tree/README":        {Data: []byte("placeholder")},
		"tree/manifest.json": {Data: raw},
		"tree/pgtree.tar.s2": {Data: packed},
	}
}

// archiveOf returns an archive of entries as embed/pgtree would hold it.
func archiveOf(t *testing.T, entries []entry) fs.FS {
	t.Helper()
	raw := tarOf(t, entries)
	packed := pack(t, raw)
	return filesOf(t, manifestFor(packed, len(raw), nil), packed)
}
