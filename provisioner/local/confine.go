package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Landlock (landlock(7)) keeps a member's server from creating directories
// outside its data directory, and thereby from creating tablespaces: all
// members on one machine would write to the same tablespace directory.

// landlockVersion returns the ABI version of the kernel's Landlock, or 0 for a
// kernel without Landlock.
func landlockVersion() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

// confined calls start on a thread that may create directories only beneath
// dirs. A process that start starts inherits the restriction and can't drop it.
// Without Landlock, confined calls start without a restriction.
func confined(dirs []string, start func() error) error {
	version := landlockVersion()
	if version == 0 {
		return start()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := restrictThread(version, dirs)
		if err != nil {
			err = fmt.Errorf("keeping the server to its data directory: %w", err)
		} else {
			err = start()
		}
		done <- err
	}()
	return <-done
}

// restrictThread restricts the calling thread for good. Missing directories in
// dirs are skipped.
func restrictThread(version int, dirs []string) error {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: unix.LANDLOCK_ACCESS_FS_MAKE_DIR}
	if version > 1 { // without this right, no file can be moved to another directory
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	r, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return os.NewSyscallError("landlock_create_ruleset", errno)
	}
	ruleset := int(r)
	defer func() { _ = unix.Close(ruleset) }()
	if version > 1 {
		if err := allowBeneath(ruleset, "/", unix.LANDLOCK_ACCESS_FS_REFER); err != nil {
			return err
		}
	}
	for _, dir := range dirs {
		err := allowBeneath(ruleset, dir, attr.Handled_access_fs)
		if err != nil && !missing(err) {
			return err
		}
	}
	_, _, errno = unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0)
	if errors.Is(errno, fs.ErrPermission) { // Landlock requires no_new_privs of an ordinary user
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return os.NewSyscallError("prctl", err)
		}
		_, _, errno = unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0)
	}
	if errno != 0 {
		return os.NewSyscallError("landlock_restrict_self", errno)
	}
	return nil
}

func allowBeneath(ruleset int, dir string, access uint64) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("landlock_add_rule", errno)
	}
	return nil
}

// serverDirs returns the directories in which a server may create directories.
// The data directory itself is left out, so that a tablespace can't be created
// there either.
func (m *machine) serverDirs() []string {
	data := m.Layout().DataDir
	var out []string
	for _, name := range []string{"base", "global", "log", "pg_dynshmem", "pg_logical", "pg_replslot", "pg_stat", "pg_stat_tmp", tablespaceDir, "pg_wal"} {
		out = append(out, filepath.Join(data, name))
	}
	for _, t := range m.tablespaces() { // created before the cluster had standbys
		out = append(out, t.location)
	}
	return out
}
