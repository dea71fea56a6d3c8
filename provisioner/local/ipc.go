package local

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance/wait"
)

// A killed postmaster leaves a System V segment and the POSIX segments that the
// System V segment refers to. PostgreSQL removes the segments at the next start
// on the same directory, but a removed directory has no next start. This file
// reads PostgreSQL 17's PGShmemHeader and dsm_control_header in their 64-bit
// layout, and checks the magic numbers first.
const (
	shmemMagic   = 679834894
	controlMagic = 0x9a503d32

	shmemControlAt = 24 // dsm_control
	shmemDeviceAt  = 40
	shmemInodeAt   = 48
	shmemHeaderLen = 56

	controlCountAt = 4 // nitems
	controlItemsAt = 16
	controlItemLen = 40

	posixShmDir = "/dev/shm"
)

// fileID identifies a data directory by device and inode.
type fileID struct{ device, inode uint64 }

// memoryPatience is how long a fence waits for other processes to detach from a
// dead server's segment. Another pgapp attaches briefly to read the header.
const memoryPatience = 2 * time.Second

// freeSharedMemory removes the shared memory of the member's dead servers,
// including servers that initdb ran in a temporary directory. A segment that a
// process is still attached to after patience stays, without an error. A repeat
// does nothing.
func (m *machine) freeSharedMemory(ctx context.Context, patience time.Duration) error {
	dirs := m.possibleDataDirs()
	if len(dirs) == 0 {
		return nil
	}
	i, err := m.p.account.lookup()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err = wait.Until(ctx, pollInterval, func(ctx context.Context) (bool, error) { return freeSegments(dirs, i.uid) })
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// freeSegments removes the segments of dirs that no process is attached to. all
// is false if a segment stays because a process is attached.
func freeSegments(dirs map[fileID]bool, uid uint32) (all bool, err error) {
	table, err := os.ReadFile(filepath.Join(procDir, "sysvipc", "shm"))
	if err != nil {
		return true, nil //nolint:nilerr // a kernel without System V has no segments
	}
	all = true
	var errs []error
	for _, s := range segments(string(table), uid) {
		if !s.near(dirs) {
			continue
		}
		control, ok := segmentOf(s.id, dirs)
		switch {
		case !ok:
			continue
		case s.attached > 0:
			all = false
			continue
		}
		removePosix(control, uid)
		if _, err := unix.SysvShmCtl(s.id, unix.IPC_RMID, nil); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EIDRM) {
			errs = append(errs, fmt.Errorf("removing shared memory segment %d: %w", s.id, err))
		}
	}
	return all, errors.Join(errs...)
}

// possibleDataDirs returns the directories, up to two levels below the member's
// directory, that contain PG_VERSION: the data directory, and directories that
// a killed initdb left incomplete.
func (m *place) possibleDataDirs() map[fileID]bool {
	out := map[fileID]bool{}
	for _, pattern := range []string{"*", "*/*"} {
		found, err := filepath.Glob(filepath.Join(globEscape(m.dir), pattern, "PG_VERSION"))
		if err != nil {
			continue // only for a bad pattern
		}
		for _, path := range found {
			var st syscall.Stat_t
			if err := syscall.Lstat(filepath.Dir(path), &st); err == nil && st.Mode&syscall.S_IFMT == syscall.S_IFDIR {
				out[fileID{st.Dev, st.Ino}] = true
			}
		}
	}
	return out
}

// segment is a row of the kernel's table (proc_sysvipc(5)).
type segment struct {
	key      int32
	id       int
	attached int
}

// segments lists the segments that the user owns.
func segments(table string, uid uint32) []segment {
	const keyField, idField, attachedField, uidField = 0, 1, 6, 7
	var out []segment
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) <= uidField || f[uidField] != strconv.FormatUint(uint64(uid), 10) {
			continue
		}
		key, keyErr := strconv.ParseInt(f[keyField], 10, 32)
		id, idErr := strconv.Atoi(f[idField])
		attached, attachedErr := strconv.Atoi(f[attachedField])
		if errors.Join(keyErr, idErr, attachedErr) == nil {
			out = append(out, segment{int32(key), id, attached})
		}
	}
	return out
}

// near reports whether the segment may belong to one of dirs. PostgreSQL takes
// the first free key, counting up from the inode number (PGSharedMemoryCreate).
// pgapp attaches to no other segment: PostgreSQL refuses to start a server
// while a process is attached to the old segment of its data directory.
func (s segment) near(dirs map[fileID]bool) bool {
	const most = 32
	for d := range dirs {
		if uint32(s.key)-uint32(d.inode) < most {
			return true
		}
	}
	return false
}

// segmentOf reports whether the segment belongs to one of dirs, and returns the
// handle of the POSIX control segment that the segment refers to.
func segmentOf(id int, dirs map[fileID]bool) (control uint32, ok bool) {
	mem, err := unix.SysvShmAttach(id, 0, unix.SHM_RDONLY)
	if err != nil {
		return 0, false
	}
	defer func() { _ = unix.SysvShmDetach(mem) }()
	return parseShmemHeader(mem, dirs)
}

func parseShmemHeader(mem []byte, dirs map[fileID]bool) (control uint32, ok bool) {
	le := binary.LittleEndian
	if len(mem) < shmemHeaderLen || le.Uint32(mem) != shmemMagic {
		return 0, false
	}
	if !dirs[fileID{le.Uint64(mem[shmemDeviceAt:]), le.Uint64(mem[shmemInodeAt:])}] {
		return 0, false
	}
	return le.Uint32(mem[shmemControlAt:]), true
}

// removePosix removes the control segment and the segments listed in it, as far
// as the user owns them. Errors are ignored.
func removePosix(control, uid uint32) {
	path := posixSegment(control)
	if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() || ownerOf(st) != uid {
		return
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return
	}
	for _, handle := range append(parseControl(data), control) {
		if st, err := os.Lstat(posixSegment(handle)); err == nil && ownerOf(st) == uid {
			_ = os.Remove(posixSegment(handle))
		}
	}
}

func posixSegment(handle uint32) string {
	return filepath.Join(posixShmDir, "PostgreSQL."+strconv.FormatUint(uint64(handle), 10))
}

func parseControl(data []byte) []uint32 {
	le := binary.LittleEndian
	if len(data) < controlItemsAt || le.Uint32(data) != controlMagic {
		return nil
	}
	var out []uint32
	items := data[controlItemsAt:]
	for n := le.Uint32(data[controlCountAt:]); n > 0 && len(items) >= controlItemLen; n-- {
		if handle, refs := le.Uint32(items), le.Uint32(items[4:]); refs > 0 {
			out = append(out, handle)
		}
		items = items[controlItemLen:]
	}
	return out
}
