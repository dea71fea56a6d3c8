package archive

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// FuzzRead reads mutated archives: no panic, nothing left after a refusal.
func FuzzRead(f *testing.F) {
	m := Manifest{Format: 1, SchemaVersion: 1, Instance: "x", Parts: []Part{part(StateName, []byte("state")), part("a", nil)}}
	f.Add(rawTar(f, manifestEntry(f, m), file(StateName, []byte("state")), file("a", nil)))
	f.Add(rawTar(f, manifestEntry(f, m), link(tar.TypeSymlink, StateName, "a")))
	f.Add([]byte(ageIntro + "v1\n-> X25519 abc\ndef\n--- mac\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		sub, err := os.MkdirTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.RemoveAll(sub) }()
		dest := filepath.Join(sub, "unpacked")
		if _, err := Read(t.Context(), bytes.NewReader(b), Keys{}, dest, Limits{}); err != nil {
			wantNothing(t, dest)
		}
	})
}
