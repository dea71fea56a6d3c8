package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"pgapp/appliance"
)

func TestCheckHomeOwnerRefusesRoot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := checkHomeOwner(dir, 0); err != nil {
		t.Errorf("nobody's home: %v", err)
	}
	lock := filepath.Join(dir, "pgapp.lock")
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := checkHomeOwner(dir, 0); err != nil {
			t.Errorf("root's home: %v", err)
		}
		if err := os.Chown(lock, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	if err := checkHomeOwner(dir, 0); !appliance.IsProblem(err, appliance.ErrHostPermission) {
		t.Errorf("another's home: %v", err)
	}
	if err := checkHomeOwner(dir, 65534); err != nil {
		t.Errorf("the owner: %v", err)
	}
}
