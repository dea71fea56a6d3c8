package daemon

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/home"
	"pgapp/store"
)

// checkHomeEvery is how often it is looked whether the home is still there.
const checkHomeEvery = 2 * time.Second

// endWithHome ends the daemon once its home is not at its path any more: what it does would
// go to whoever is there then, and it would make anew what somebody has removed.
func endWithHome(ctx context.Context, lock *store.HomeLock, end context.CancelCauseFunc) {
	tick := time.NewTicker(checkHomeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := lock.Check(); appliance.IsProblem(err, appliance.ErrHomeUnusable) {
			end(err)
			return
		}
	}
}

// checkHomeOwner refuses root in a home of another user: files, sockets and control
// groups that root makes can't be removed by that user.
func checkHomeOwner(dir string, euid int) error {
	if euid != 0 {
		return nil // the files' own permissions do
	}
	st, err := os.Lstat(filepath.Join(dir, home.Lock))
	if err != nil {
		return nil //nolint:nilerr // nobody's yet, or the lock says what is wrong
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || sys.Uid == 0 {
		return nil
	}
	who := fmt.Sprintf("#%d", sys.Uid)
	if u, err := user.LookupId(strconv.FormatUint(uint64(sys.Uid), 10)); err == nil {
		who = u.Username
	}
	return appliance.NewProblem(appliance.ErrHostPermission, "the home %s belongs to user %s, who can't use the files that root makes in it", dir, who).
		WithHint("run pgapp as that user: sudo -u '%s' pgapp --home '%s' …; or choose another home with --home", who, dir)
}
