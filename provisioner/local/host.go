package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
	"pgapp/appliance/doctor"
)

const (
	// minDiskMiB is the free space that a member needs: an empty cluster, a
	// data set and some WAL.
	minDiskMiB = 256
	// minMemoryMiB is roughly the memory of an idle member.
	minMemoryMiB = 48
	mib          = 1 << 20
)

// openHome lets the members' user pass through the home. If pgapp runs as an
// ordinary user, members run as the same user and openHome does nothing.
func (p *Provider) openHome() error {
	st, err := os.Stat(p.home)
	if err != nil {
		return fmt.Errorf("looking at the home: %w", err)
	}
	if p.account.self || passable(p.home) {
		return nil
	}
	if err := os.Chmod(p.home, st.Mode().Perm()|passMode); err != nil {
		return fmt.Errorf("opening the home for passage: %w", err)
	}
	return nil
}

// checkHost checks this machine's resources for the members without data.
func (p *Provider) checkHost(ctx context.Context, c appliance.Cluster, members []appliance.Member) error {
	fresh := 0
	for _, m := range members {
		if _, err := os.Lstat(filepath.Join(p.machine(c, m).Layout().DataDir, "PG_VERSION")); err != nil {
			fresh++
		}
	}
	if fresh > 0 {
		if err := p.checkSurroundings(ctx, c.Spec.PostgresBin, fresh); err != nil {
			return err
		}
		if err := checkZoneinfo(c.Spec.PostgresBin); err != nil {
			return err
		}
	}
	if err := p.checkDisk(fresh); err != nil {
		return err
	}
	if err := checkMemory(fresh); err != nil {
		return err
	}
	if !p.account.exists() {
		return nil
	}
	return p.checkPassage(ctx)
}

func (p *Provider) checkDisk(members int) error {
	free, err := freeDiskMiB(p.home)
	if err != nil {
		return err
	}
	if need := int64(members) * minDiskMiB; free < need {
		return appliance.NewProblem(appliance.ErrHostNoSpace, "%s has %d MiB free, but %d members need at least %d MiB", p.home, free, members, need).
			WithHint("free disk space, choose another home with --home, or ask for fewer standbys with --standbys")
	}
	return nil
}

// freeDiskMiB returns the space available to ordinary users, in MiB. Members run
// as an ordinary user.
func freeDiskMiB(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("asking for the free space of %q: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize / mib, nil
}

func checkMemory(members int) error {
	available, ok := availableMemoryMiB()
	if need := int64(members) * minMemoryMiB; ok && available < need {
		return appliance.NewProblem(appliance.ErrHostNoMemory, "%d MiB of memory are available, but %d members need at least %d MiB", available, members, need).
			WithHint("end other programs, or ask for fewer standbys with --standbys")
	}
	return nil
}

func availableMemoryMiB() (int64, bool) {
	data, err := os.ReadFile(filepath.Join(procDir, "meminfo"))
	if err != nil {
		return 0, false
	}
	n, err := doctor.AvailableBytes(data)
	return int64(n >> 20), err == nil //nolint:gosec // bytes that fit 63 bits
}

// checkPassage returns a Problem that names the first directory above the
// members that the members' user can't pass through.
func (p *Provider) checkPassage(ctx context.Context) error {
	if p.account.self {
		return nil
	}
	i, err := p.account.lookup()
	if err != nil {
		return err
	}
	home, err := filepath.EvalSymlinks(p.home)
	if err != nil {
		return fmt.Errorf("resolving the home: %w", err)
	}
	for _, dir := range ancestors(home) {
		st, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("looking at %q: %w", dir, err)
		}
		if mayPass(st, i) || p.passesReally(ctx, dir, i) {
			continue
		}
		return appliance.NewProblem(appliance.ErrHostPermission,
			"user %s, whom PostgreSQL runs as, can't enter %s (mode %04o)", p.account.name, dir, st.Mode().Perm()).
			WithHint("chmod o+x %s, or choose another home with --home", dir)
	}
	return nil
}

// ancestors lists dir and all its parents, the topmost first.
func ancestors(dir string) []string {
	var out []string
	for ; ; dir = filepath.Dir(dir) {
		out = append(out, dir)
		if dir == filepath.Dir(dir) {
			slices.Reverse(out)
			return out
		}
	}
}

func mayPass(st fs.FileInfo, i ids) bool {
	mode := st.Mode().Perm()
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return mode&0o001 != 0
	case sys.Uid == i.uid:
		return mode&0o100 != 0
	case sys.Gid == i.gid || slices.Contains(i.groups, sys.Gid):
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}

// passesReally asks the kernel whether the user can pass through dir, because
// the mode doesn't show access control lists.
func (p *Provider) passesReally(ctx context.Context, dir string, i ids) bool {
	test, err := lookPath("test")
	if err != nil {
		return false
	}
	cmd := exec.CommandContext(ctx, test, "-x", dir)
	cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Credential: p.account.credential(i)}
	return cmd.Run() == nil
}

// zoneinfoDir is where PostgreSQL built for Debian reads time zones.
const zoneinfoDir = "/usr/share/zoneinfo"

func hasZoneinfo() error {
	entries, err := os.ReadDir(zoneinfoDir)
	if err == nil && len(entries) == 0 {
		err = errors.New("it is empty")
	}
	return err
}
