package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// FuzzInspect mutates a database: what the inspection lets pass, bbolt reads
// to its end without a panic. Checksums of the meta pages are left as they
// are mutated, too, so most of the work is in the pages behind.
func FuzzInspect(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "state.v1.db"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(0), []byte{})
	f.Add(uint16(2*pageSize), []byte{1, 2, 3})
	f.Add(uint16(3*pageSize+10), []byte{0xFF, 0xFF})
	path := filepath.Join(f.TempDir(), FileName)
	f.Fuzz(func(t *testing.T, at uint16, patch []byte) {
		db := bytes.Clone(golden)
		copy(db[min(int(at), len(db)):], patch)
		if inspect(bytes.NewReader(db), int64(len(db))) != nil {
			return
		}
		if err := os.WriteFile(path, db, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
		if err != nil {
			t.Fatalf("bbolt refuses what the inspection let pass: %v", err)
		}
		defer func() { _ = b.Close() }()
		if err := b.View(func(tx *bolt.Tx) error {
			for e := range tx.Check() {
				t.Errorf("bbolt's check finds what the inspection let pass: %v", e)
			}
			_ = verifyValues(tx) // may find wrong checksums, but doesn't panic
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}
