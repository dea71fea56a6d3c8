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

// shmDir is where PostgreSQL has memory that several processes of it share.
const shmDir = "/dev/shm"

// Of shmDir, what a member needs at least, and what it likes to have.
const (
	minShmMiB     = 2
	comfortShmMiB = 32
)

// surroundings are the checks that doctor and up's first step share: what they
// find would otherwise show itself in the words of another program.
func (p *Provider) surroundings(ctx context.Context, postgresBin string, members int) []func() *appliance.Problem {
	return []func() *appliance.Problem{
		func() *appliance.Problem { return p.checkName(ctx) },
		func() *appliance.Problem { return checkExec(p.home, postgresBin) },
		func() *appliance.Problem { return p.checkShm(shmDir, members) },
		func() *appliance.Problem { return checkLoopback() },
	}
}

// checkSurroundings returns the first problem.
func (p *Provider) checkSurroundings(ctx context.Context, postgresBin string, members int) error {
	for _, check := range p.surroundings(ctx, postgresBin, members) {
		if problem := check(); problem != nil {
			return problem
		}
	}
	return nil
}

// surroundingFindings are the same for doctor.
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

// checkName wants a name for the user: PostgreSQL's programs refuse a number
// without one, as containers with an arbitrary user have it. The program id
// also knows the users of directory services.
func (p *Provider) checkName(ctx context.Context) *appliance.Problem {
	uid := os.Geteuid()
	if !p.account.self {
		return nil
	}
	// Package user would answer from $USER.
	id, err := lookPath("id")
	if err != nil || exec.CommandContext(ctx, id, "-un").Run() == nil {
		return nil //nolint:nilerr // without the program id nothing can be said
	}
	return appliance.NewProblem(appliance.ErrHostNoUser, "your user number %d has no name in the passwd database, and PostgreSQL refuses to run without one", uid).
		WithHint("add one: echo 'pgapp:x:%d:%d::/:/bin/sh' >> /etc/passwd (as root), or run as a user that exists", uid, os.Getegid())
}

// checkExec wants programs to run where PostgreSQL is unpacked. Another's
// PostgreSQL is somewhere else.
func checkExec(home, postgresBin string) *appliance.Problem {
	dir := existing(home)
	var st unix.Statfs_t
	if postgresBin != "" || unix.Statfs(dir, &st) != nil || st.Flags&unix.ST_NOEXEC == 0 {
		return nil //nolint:nilerr // what can't be looked at shows itself when PostgreSQL is unpacked there
	}
	for _, packaged := range []string{"/usr/lib/postgresql/17/bin/postgres", "/usr/pgsql-17/bin/postgres"} {
		if _, err := os.Stat(packaged); err == nil {
			return nil
		}
	}
	return appliance.NewProblem(appliance.ErrHostPermission, "the file system of %s is mounted noexec, and PostgreSQL's programs are unpacked there", dir).
		WithHint("choose another home with --home, or name an installed PostgreSQL 17 with --postgres-bin")
}

// checkShm wants shared memory that the members' user can make.
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

// mayShare tells whether the members' user, who may not exist yet, can make
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

// checkLoopback wants the interface that all members listen on.
func checkLoopback() *appliance.Problem {
	all, err := net.Interfaces()
	if err != nil {
		return nil //nolint:nilerr // a socket will tell
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

// checkZoneinfo wants the time zones that the PostgreSQL of ours reads.
func checkZoneinfo(postgresBin string) error {
	if postgresBin != "" {
		return nil // one that may bring its own
	}
	if err := hasZoneinfo(); err != nil {
		return appliance.NewProblem(appliance.ErrHostUnable, "%s can't be read, and PostgreSQL needs it for time zones: %w", zoneinfoDir, err).
			WithHint("install the package tzdata")
	}
	return nil
}
