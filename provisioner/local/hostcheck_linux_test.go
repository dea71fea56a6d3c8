package local

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// apart calls f on a thread with mounts and network of its own, where the
// loopback interface is down.
func apart(t *testing.T, f func() error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: namespaces of one thread need root")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func wantProblem(t *testing.T, got *appliance.Problem, id appliance.ErrorID) {
	t.Helper()
	if got == nil || got.ID != id || got.Hint == "" {
		t.Errorf("got %v, want %s with a hint", got, id)
	}
}

func TestHostStepRefusesNoexecHome(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	if got := checkExec(home, ""); got != nil {
		t.Errorf("a good home: %v", got)
	}
	apart(t, func() error {
		err := unix.Mount("none", home, "tmpfs", unix.MS_NOEXEC, "")
		for _, packaged := range []string{"/usr/lib/postgresql", "/usr/pgsql-17"} {
			if _, statErr := os.Stat(packaged); err == nil && statErr == nil {
				err = unix.Mount("none", packaged, "tmpfs", 0, "")
			}
		}
		if err == nil {
			wantProblem(t, checkExec(home, ""), appliance.ErrHostPermission)
			wantProblem(t, checkExec(home+"/not/yet/there", ""), appliance.ErrHostPermission)
			if got := checkExec(home, "/opt/pg/bin"); got != nil {
				t.Errorf("with an installed PostgreSQL: %v", got)
			}
		}
		return err
	})
}

func TestHostStepRefusesLoopbackDown(t *testing.T) {
	t.Parallel()
	apart(t, func() error {
		wantProblem(t, checkLoopback(), appliance.ErrHostNetwork)
		return nil
	})
}

func TestHostStepRefusesMissingTimeZones(t *testing.T) {
	t.Parallel()
	apart(t, func() error {
		err := os.MkdirAll(zoneinfoDir, 0o755)
		if err == nil {
			err = unix.Mount("none", zoneinfoDir, "tmpfs", 0, "")
		}
		if err == nil {
			wantProblem(t, appliance.AsProblem(checkZoneinfo("")), appliance.ErrHostUnable)
			if got := checkZoneinfo("/opt/pg/bin"); got != nil {
				t.Errorf("with an installed PostgreSQL: %v", got)
			}
		}
		return err
	})
}

func TestCheckShmRefusesReadOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := New(Config{Home: t.TempDir()})
	apart(t, func() error {
		err := unix.Mount("none", dir, "tmpfs", unix.MS_RDONLY, "mode=1777")
		if err == nil {
			wantProblem(t, p.checkShm(dir, 1), appliance.ErrHostReadOnly)
		}
		return err
	})
}
