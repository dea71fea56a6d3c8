package local

import (
	"context"
	"net"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
	"pgapp/appliance/doctor"
)

// shmDir is the directory of PostgreSQL's POSIX shared memory.
const shmDir = "/dev/shm"

// minShmMiB is the space in shmDir that a member needs; comfortShmMiB is the
// space that a hint recommends for a member.
const (
	minShmMiB     = 2
	comfortShmMiB = 32
)

// surroundings returns the checks that doctor and the first step of up share.
// Without the checks, a user would see the error message of another program.
func (p *Provider) surroundings(ctx context.Context, postgresBin string, members int) []func() *appliance.Problem {
	return []func() *appliance.Problem{
		func() *appliance.Problem { return p.checkName(ctx) },
		func() *appliance.Problem { return checkExec(p.home, postgresBin) },
		func() *appliance.Problem { return p.checkShm(shmDir, members) },
		func() *appliance.Problem { return checkLoopback() },
	}
}

// checkSurroundings runs the checks and returns the first problem.
func (p *Provider) checkSurroundings(ctx context.Context, postgresBin string, members int) error {
	for _, check := range p.surroundings(ctx, postgresBin, members) {
		if problem := check(); problem != nil {
			return problem
		}
	}
	return nil
}

// surroundingFindings runs the same checks and returns one finding for each.
func (p *Provider) surroundingFindings(ctx context.Context, postgresBin string, members int) []appliance.Finding {
	checks := p.surroundings(ctx, postgresBin, members)
	var out []appliance.Finding
	for i, f := range []struct{ id, good string }{
		{"local-name", "the user has a name"},
		{"local-exec", "programs in the home can be run"},
		{"local-shm", shmDir + " can be used"},
		{"local-loopback", "the loopback interface is up"},
	} {
		if problem := checks[i](); problem != nil {
			out = append(out, doctor.OfError(f.id, problem))
			continue
		}
		out = append(out, doctor.Found(f.id, appliance.LevelPass, "%s", f.good))
	}
	return out
}

// checkName checks that the user has a name. PostgreSQL's programs refuse a
// user number without a name, which is common in containers. The program id
// also finds users of directory services.
func (p *Provider) checkName(ctx context.Context) *appliance.Problem {
	uid := os.Geteuid()
	if !p.account.self {
		return nil
	}
	// Package os/user would return $USER.
	id, err := lookPath("id")
	if err != nil || exec.CommandContext(ctx, id, "-un").Run() == nil {
		return nil //nolint:nilerr // without the program id the name can't be checked
	}
	return appliance.NewProblem(appliance.ErrHostNoUser, "your user number %d has no name in the passwd database, and PostgreSQL refuses to run without one", uid).
		WithHint("add one: echo 'pgapp:x:%d:%d::/:/bin/sh' >> /etc/passwd (as root), or run as a user that exists", uid, os.Getegid())
}

// checkExec checks that programs can run in the home, where PostgreSQL is
// unpacked. A PostgreSQL that is already installed isn't unpacked there.
func checkExec(home, postgresBin string) *appliance.Problem {
	dir := existing(home)
	var st unix.Statfs_t
	if postgresBin != "" || unix.Statfs(dir, &st) != nil || st.Flags&unix.ST_NOEXEC == 0 {
		return nil //nolint:nilerr // unpacking PostgreSQL reports the error
	}
	for _, packaged := range []string{"/usr/lib/postgresql/17/bin/postgres", "/usr/pgsql-17/bin/postgres"} {
		if _, err := os.Stat(packaged); err == nil {
			return nil
		}
	}
	return appliance.NewProblem(appliance.ErrHostPermission, "the file system of %s is mounted noexec, and PostgreSQL's programs are unpacked there", dir).
		WithHint("choose another home with --home, or name an installed PostgreSQL 17 with --postgres-bin")
}

// checkShm checks that the members' user can create shared memory in dir.
func (p *Provider) checkShm(dir string, members int) *appliance.Problem {
	var fs unix.Statfs_t
	st, err := os.Stat(dir)
	if err == nil {
		err = unix.Statfs(dir, &fs)
	}
	if err != nil {
		return appliance.NewProblem(appliance.ErrHostUnable, "%s can't be used, and PostgreSQL needs it for shared memory: %w", dir, err).
			WithHint("mount -t tmpfs -o mode=1777 tmpfs %s", dir)
	}
	if fs.Flags&unix.ST_RDONLY != 0 {
		return appliance.NewProblem(appliance.ErrHostReadOnly, "%s is read-only, and PostgreSQL needs it for shared memory", dir).
			WithHint("mount -o remount,rw %s", dir)
	}
	if !p.mayShare(dir, st) {
		return appliance.NewProblem(appliance.ErrHostPermission, "%s can't be written by user %s, whom PostgreSQL runs as (mode %04o)", dir, p.account.name, st.Mode().Perm()).
			WithHint("chmod 1777 %s", dir)
	}
	free, need := int64(fs.Bavail)*fs.Bsize/mib, int64(members)*minShmMiB
	if fs.Blocks > 0 && free < need {
		return appliance.NewProblem(appliance.ErrHostNoMemory, "%s has %d MiB free; PostgreSQL's shared memory for %d members needs %d", dir, free, members, need).
			WithHint("mount -o remount,size=%dm %s (docker run --shm-size=%dm)", members*comfortShmMiB, dir, members*comfortShmMiB)
	}
	return nil
}

// mayShare reports whether the members' user, who may not exist yet, can create
// files in the directory.
func (p *Provider) mayShare(dir string, st os.FileInfo) bool {
	if p.account.self {
		return unix.Access(dir, unix.W_OK|unix.X_OK) == nil
	}
	const write = 0o003
	if st.Mode().Perm()&write == write {
		return true
	}
	i, err := p.account.lookup()
	return err == nil && ownerOf(st) == i.uid
}

// checkLoopback checks that the loopback interface is up; all members listen on
// it.
func checkLoopback() *appliance.Problem {
	all, err := net.Interfaces()
	if err != nil {
		return nil //nolint:nilerr // opening a socket reports the error
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			if i.Flags&net.FlagUp == 0 {
				return appliance.NewProblem(appliance.ErrHostNetwork, "the loopback interface %s is down, and members listen on it", i.Name).
					WithHint("as root: ip link set %s up", i.Name)
			}
			return nil
		}
	}
	return nil
}

// checkZoneinfo checks the time zone files that pgapp's PostgreSQL reads.
func checkZoneinfo(postgresBin string) error {
	if postgresBin != "" {
		return nil // an installed PostgreSQL may have its own time zone files
	}
	if err := hasZoneinfo(); err != nil {
		return appliance.NewProblem(appliance.ErrHostUnable, "%s can't be read, and PostgreSQL needs it for time zones: %w", zoneinfoDir, err).
			WithHint("install the package tzdata")
	}
	return nil
}
