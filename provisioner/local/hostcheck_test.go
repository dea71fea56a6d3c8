package local

import (
	"os"
	"testing"

	"pgapp/appliance"
)

// TestCheckShmRefusesWhatPostgreSQLCantUse looks at directories that stand for
// /dev/shm.
func TestCheckShmRefusesWhatPostgreSQLCantUse(t *testing.T) {
	t.Parallel()
	p := New(Config{Home: t.TempDir()})
	if got := p.checkShm(t.TempDir()+"/absent", 1); got == nil || got.ID != appliance.ErrHostUnable || got.Hint == "" {
		t.Errorf("an absent directory: %v", got)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	if got := p.checkShm(dir, 1); got == nil || got.ID != appliance.ErrHostPermission || got.Hint == "" {
		t.Errorf("a directory without the right to write: %v", got)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if got := p.checkShm(dir, 1<<40); got == nil || got.ID != appliance.ErrHostNoMemory || got.Hint == "" {
		t.Errorf("a directory that is too small: %v", got)
	}
	if got := p.checkShm(dir, 0); got != nil {
		t.Errorf("a good directory: %v", got)
	}
}

func TestSurroundingFindingsCoverEachCheck(t *testing.T) {
	t.Parallel()
	p := New(Config{Home: t.TempDir()})
	findings := p.surroundingFindings(testContext(t), "", 1)
	if checks := p.surroundings(testContext(t), "", 1); len(findings) != len(checks) {
		t.Errorf("%d findings of %d checks", len(findings), len(checks))
	}
}
