package archive

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"pgapp/store"
)

// TestReadOlderSchema reads an archive that a pgapp of schema 1 made, and opens the
// state in it, which migrates it.
func TestReadOlderSchema(t *testing.T) {
	t.Parallel()
	golden := filepath.Join("..", "testdata", "state.v1.db")
	info, err := store.Peek(t.Context(), golden)
	if err != nil {
		t.Fatal(err)
	}
	state, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	h := hostile{t: t, m: Manifest{
		Format: Format, PgappVersion: "1.0.0", SchemaVersion: 1, Instance: info.Instance, Epoch: 1, Epochs: map[string]uint64{"uuid-main": 1},
	}}.resum(state)
	dest := filepath.Join(t.TempDir(), "unpacked")
	if _, err := Read(t.Context(), bytes.NewReader(h.tar(h.good())), Keys{}, dest, Limits{}); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), dest, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Cluster(t.Context(), "main")
	if err != nil || c.Epoch != 1 || c.Members[1].Epoch != 1 {
		t.Errorf("the restored cluster: %+v, %v", c, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
