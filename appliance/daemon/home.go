package daemon

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"pgapp/appliance"
	"pgapp/appliance/home"
)

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
