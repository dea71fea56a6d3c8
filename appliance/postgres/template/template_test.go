package template

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// control is a pg_control with its checksum at an arbitrary place.
func control(id uint64) []byte {
	const at = 288
	b := make([]byte, 8192)
	for i := 8; i < at; i++ {
		b[i] = byte(i * 7)
	}
	binary.LittleEndian.PutUint64(b, id)
	binary.LittleEndian.PutUint32(b[at:], castagnoli(b[:at]))
	return b
}

func segment() []byte {
	b := make([]byte, 3*8192)
	binary.LittleEndian.PutUint16(b[walInfoAt:], walLongHeader)
	b[9000] = 1
	return b
}

func dataDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string][]byte{
		"PG_VERSION": []byte("17\n"), "base/1/112": []byte("rows"), "base/1/112_fsm": []byte("x"), "base/1/112_vm": []byte("x"), "global/pg_control": control(7),
		"pg_wal/000000010000000000000003": segment(), "pg_wal/000000010000000000000002": segment(),
		"pg_wal/archive_status/x": []byte("x"), "postmaster.opts": []byte("x"), "pgapp.conf": []byte("x"), "pg_replslot/s/state": []byte("x"),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func packed(t *testing.T) fstest.MapFS {
	t.Helper()
	out := t.TempDir()
	if err := Pack(t.Context(), dataDir(t), out, Manifest{Segment: "000000010000000000000003", SegmentBytes: 16 << 20}); err != nil {
		t.Fatal(err)
	}
	fsys := fstest.MapFS{}
	for _, n := range []string{ArchiveName, ManifestName} {
		b, err := os.ReadFile(filepath.Join(out, n))
		if err != nil {
			t.Fatal(err)
		}
		fsys[n] = &fstest.MapFile{Data: b}
	}
	return fsys
}

func TestCopiesCarryTheIdentifier(t *testing.T) {
	t.Parallel()
	tmpl, err := Open(packed(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []uint64{42, NewIdentifier(time.Now())} {
		got := map[string][]byte{}
		for f, err := range tmpl.Files(id) {
			if err != nil {
				t.Fatal(err)
			}
			if !f.Dir {
				if got[f.Name], err = io.ReadAll(f.Content); err != nil {
					t.Fatal(err)
				}
			}
			if size := int64(16 << 20); (f.Size == size) != strings.HasPrefix(f.Name, walDir+"0") {
				t.Errorf("%s is to have %d bytes", f.Name, f.Size)
			}
		}
		want := map[string]bool{"PG_VERSION": true, "base/1/112": true, "global/pg_control": true, "pg_wal/000000010000000000000003": true}
		for name := range want {
			if _, ok := got[name]; !ok {
				t.Errorf("%s is missing", name)
			}
		}
		if len(got) != len(want) {
			t.Errorf("got %d files, want %d", len(got), len(want))
		}
		if !bytes.Equal(got["global/pg_control"], control(id)) {
			t.Error("pg_control differs from one made with that identifier")
		}
		wal := got["pg_wal/000000010000000000000003"]
		if len(wal) != 2*8192 || binary.LittleEndian.Uint64(wal[walIdentifierAt:]) != id {
			t.Errorf("the WAL segment has %d bytes and identifier %d", len(wal), binary.LittleEndian.Uint64(wal[walIdentifierAt:]))
		}
	}
}

func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	if _, err := Open(fstest.MapFS{}); !errors.Is(err, ErrAbsent) {
		t.Errorf("absent: %v", err)
	}
	fsys := packed(t)
	fsys[ArchiveName].Data[len(fsys[ArchiveName].Data)/2] ^= 1
	if _, err := Open(fsys); err == nil || errors.Is(err, ErrAbsent) {
		t.Errorf("damaged: %v", err)
	}
	if err := stampControl(make([]byte, 300), 1); err == nil {
		t.Error("a pg_control without a checksum was stamped")
	}
	if err := stampWAL(make([]byte, 100), 1); err == nil {
		t.Error("a WAL page without a long header was stamped")
	}
}
