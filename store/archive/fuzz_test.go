package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
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

// FuzzManifest reads archives with mutated manifests before sound parts: no
// panic, nothing left after a refusal, and nothing taken that isn't of this
// format.
func FuzzManifest(f *testing.F) {
	state := []byte("state")
	good, err := json.Marshal(Manifest{Format: Format, SchemaVersion: 1, Instance: "x", Parts: []Part{part(StateName, state)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format":1,"parts":[{"name":"../x","size":-1,"sha256":""}]}`))
	f.Add([]byte(`{"format":2,"epochs":{"a":18446744073709551615}}`))
	f.Add(append(good, good...))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, manifest []byte) {
		sub, err := os.MkdirTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.RemoveAll(sub) }()
		dest := filepath.Join(sub, "unpacked")
		b := rawTar(t, file(ManifestName, manifest), file(StateName, state))
		m, err := Read(t.Context(), bytes.NewReader(b), Keys{}, dest, Limits{})
		if err == nil {
			t.Errorf("%q was taken as %+v, with a state that is no database", manifest, m)
		}
		wantNothing(t, dest)
	})
}
