package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// lockName is the file that the bench of a home holds a lock on while it runs.
const lockName = "lock"

// pollEvery is the pause between two looks at a record.
const pollEvery = 100 * time.Millisecond

// claim is what the lock's file says of its holder.
type claim struct {
	// Bench is empty while something else than a bench's load is done.
	Bench string `json:"bench,omitempty"`
	PID   int    `json:"pid"`
}

// Claim makes the caller the only one who runs a bench in this home, until release is
// called or the process ends. id is the bench that runs, empty where the caller only puts
// in order what another has left. While somebody else holds the claim, Claim returns a
// problem conflict.
func (r Records) Claim(id string) (release func(), err error) {
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of benches: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(r.Dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the benches' lock: %w", err)
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		_ = f.Close() // nothing was written
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return nil, r.busy()
		}
		return nil, fmt.Errorf("locking the benches: %w", err)
	}
	if err := writeClaim(f, claim{Bench: id, PID: os.Getpid()}); err != nil {
		_ = f.Close() // the error says more
		return nil, fmt.Errorf("writing the benches' lock: %w", err)
	}
	r.sweep()
	return func() { _ = f.Close() }, nil
}

// leftOver is the age of a file that nobody finishes any more. A save takes milliseconds.
const leftOver = time.Hour

// sweep removes unfinished records of processes that were killed while they saved. One that
// can't be removed is in nobody's way.
func (r Records) sweep() {
	unfinished, _ := filepath.Glob(filepath.Join(r.Dir, ".????????-??????-????"+suffix+"*"))
	for _, path := range unfinished {
		if st, err := os.Lstat(path); err == nil && time.Since(st.ModTime()) > leftOver {
			_ = os.Remove(path)
		}
	}
}

func writeClaim(f *os.File, c claim) error {
	text, err := json.Marshal(c)
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt(text, 0)
	}
	return err
}

func (r Records) busy() error {
	running, err := r.running()
	if err != nil || running.Bench == "" {
		return appliance.NewProblem(appliance.ErrConflict, "another bench runs in this home").WithHint("pgapp bench ls shows it")
	}
	return appliance.NewProblem(appliance.ErrConflict, "bench %s runs in this home", running.Bench).
		WithHint("wait for its end, or end it: pgapp bench cancel %s", running.Bench)
}

// running says who holds the claim: nothing where nobody does, and a claim without names
// while the holder is about to write them.
func (r Records) running() (c claim, err error) {
	f, err := os.Open(filepath.Join(r.Dir, lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("opening the benches' lock: %w", err)
	}
	defer func() { _ = f.Close() }()         // it was only read
	lock := unix.Flock_t{Type: unix.F_WRLCK} // only asks, and so is in nobody's way (fcntl(2))
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		return c, fmt.Errorf("looking at the benches' lock: %w", err)
	}
	if lock.Type != unix.F_UNLCK {
		_ = json.NewDecoder(f).Decode(&c) // half a text has no names yet
	}
	return c, nil
}

// Cancel asks the bench that runs to end: its process gets SIGINT, keeps what it has
// measured and puts everything in order. Cancel doesn't wait for that. A bench that
// doesn't run is a problem conflict. A repeat is safe.
func (r Records) Cancel(id string) error {
	b, err := r.Load(id)
	if err != nil {
		return err
	}
	c, err := r.running()
	if err != nil {
		return err
	}
	ended := appliance.NewProblem(appliance.ErrConflict, "bench %s doesn't run: it is %s", id, b.State)
	if c.Bench != id || c.PID <= 0 {
		return ended
	}
	fd, err := unix.PidfdOpen(c.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return ended
	}
	if err != nil {
		return fmt.Errorf("finding process %d of bench %s: %w", c.PID, id, err)
	}
	defer func() { _ = unix.Close(fd) }()
	// Whoever holds the claim still lives, so that the process is not another one that has
	// got the number since.
	if again, err := r.running(); err != nil || again != c {
		return errors.Join(ended, err)
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGINT, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("interrupting process %d of bench %s: %w", c.PID, id, err)
	}
	return nil
}

// Ended waits until the bench has put everything in order and doesn't run, and returns its
// record. A bench that doesn't run is returned at once.
func (r Records) Ended(ctx context.Context, id string) (b appliance.Bench, err error) {
	err = wait.Until(ctx, pollEvery, func(context.Context) (bool, error) {
		c, err := r.running()
		if err != nil || c.Bench == id {
			return false, err
		}
		b, err = r.Load(id)
		return err == nil, err
	})
	if err != nil && ctx.Err() != nil {
		return b, appliance.NewProblem(appliance.ErrTimeout, "bench %s has not ended in time: %w", id, err).WithHint("pgapp bench show %s", id)
	}
	return b, err
}
