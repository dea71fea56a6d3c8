package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pgapp/appliance"
)

const (
	// serverAccountName is the account that distributions create for PostgreSQL.
	serverAccountName = "postgres"
	// ownAccountPrefix begins the name of an account that pgapp creates. Each
	// home has its own account, so that removing one home's account leaves the
	// accounts of other homes.
	ownAccountPrefix = "pgapp-"
	// usersTimeout is well above the 15 s that useradd and userdel wait for the
	// lock of the passwd database (lckpwdf(3)).
	usersTimeout = time.Minute
)

// account is the user that PostgreSQL runs as.
type account struct {
	name string
	// self is set if pgapp itself runs as the user.
	self bool
	// comment marks an account in the passwd database as created by pgapp. The
	// mark disappears together with the account.
	comment string
	// own is set if pgapp creates the account when it is missing.
	own bool
}

// ids are an account's user and group numbers.
type ids struct {
	uid, gid uint32
	groups   []uint32
}

// chooseAccount chooses the account of the home's members. The owner of existing
// members stays in use even if a package creates the account postgres later.
func chooseAccount(euid int, home, prefix, server string) account {
	if euid != 0 {
		return account{name: controlUser(), self: true}
	}
	sum := sha256.Sum256([]byte(home))
	a := account{name: prefix + hex.EncodeToString(sum[:4]), own: true, comment: "pgapp home " + hex.EncodeToString(sum[:8])}
	if a.made() {
		return a
	}
	if name, ok := membersAccount(home); ok {
		return account{name: name} // created by hand, or before the home was renamed
	}
	if _, err := user.Lookup(server); err == nil {
		return account{name: server}
	}
	return a
}

// membersAccount returns the account that owns a member in the home.
func membersAccount(home string) (string, bool) {
	markers, _ := filepath.Glob(filepath.Join(globEscape(home), "clusters", "*", "*", markerFile))
	for _, path := range markers {
		st, err := os.Lstat(filepath.Dir(path))
		if err != nil {
			continue
		}
		sys, ok := st.Sys().(*syscall.Stat_t)
		if !ok || sys.Uid == 0 {
			continue
		}
		if u, err := user.LookupId(strconv.FormatUint(uint64(sys.Uid), 10)); err == nil {
			return u.Username, true
		}
	}
	return "", false
}

// lookup returns the account's numbers. The error for a missing account is a
// Problem with id host-no-user.
func (a account) lookup() (ids, error) {
	if a.self {
		return ids{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}, nil
	}
	u, uid, err := a.find()
	if err != nil {
		return ids{}, err
	}
	groups, err := u.GroupIds()
	if err != nil {
		return ids{}, fmt.Errorf("reading the groups of %q: %w", a.name, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return ids{}, fmt.Errorf("reading the ids of %q: %w", a.name, err)
	}
	out := ids{uid: uid, gid: uint32(gid)}
	for _, g := range groups {
		if n, err := strconv.ParseUint(g, 10, 32); err == nil {
			out.groups = append(out.groups, uint32(n))
		}
	}
	return out, nil
}

// find looks the account up without its groups, which take several times as long.
func (a account) find() (*user.User, uint32, error) {
	u, err := user.Lookup(a.name)
	if err != nil {
		return nil, 0, appliance.NewProblem(appliance.ErrHostNoUser, "no operating system user %q: %w", a.name, err).
			WithHint("pgapp up makes the user")
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the ids of %q: %w", a.name, err)
	}
	if uid == 0 {
		return nil, 0, appliance.NewProblem(appliance.ErrHostNoUser, "user %q has root's user number, which PostgreSQL refuses", a.name)
	}
	return u, uint32(uid), nil
}

// uid returns the account's user number, or an error as lookup does.
func (a account) uid() (uint32, error) {
	if a.self {
		return uint32(os.Geteuid()), nil
	}
	_, uid, err := a.find()
	return uid, err
}

// credential returns nil if pgapp itself runs as the account.
func (a account) credential(i ids) *syscall.Credential {
	if a.self {
		return nil
	}
	return &syscall.Credential{Uid: i.uid, Gid: i.gid, Groups: i.groups}
}

// exists tells whether the account exists.
func (a account) exists() bool {
	_, err := a.lookup()
	return err == nil
}

// ensure creates a missing account if own is set. A repeat does nothing.
func (a account) ensure(ctx context.Context) error {
	if _, err := user.Lookup(a.name); a.self || err == nil {
		return nil
	}
	if !a.own {
		_, err := a.lookup()
		return err
	}
	out, err := changeUsers(ctx, "useradd", "--system", "--user-group", "--no-create-home",
		"--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", "--comment", a.comment, a.name)
	if err != nil && errors.Is(err, ctx.Err()) {
		return fmt.Errorf("making the system user %q: %w", a.name, err)
	}
	if _, lookupErr := user.Lookup(a.name); lookupErr == nil {
		return nil
	}
	if err == nil {
		err = errors.New("the user is still unknown afterwards")
	}
	return appliance.NewProblem(appliance.ErrHostNoUser, "making the system user %q: %w", a.name, err).
		WithDetail(string(out)).WithHint("make it by hand: useradd --system --shell /usr/sbin/nologin %s", a.name)
}

// changeUsers runs a program and ignores cancellation of ctx: a killed useradd
// would leave a group without its user, and useradd refuses the name of an
// existing group.
func changeUsers(ctx context.Context, argv ...string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), usersTimeout)
	defer cancel()
	return exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
}

// made reports whether pgapp created the account for this home.
func (a account) made() bool {
	if !a.own {
		return false
	}
	u, err := user.Lookup(a.name)
	return err == nil && u.Name == a.comment
}

// remove removes the account if pgapp created it. A repeat does nothing.
func (a account) remove(ctx context.Context) error {
	if !a.made() {
		return nil
	}
	i, err := a.lookup()
	if err != nil {
		return err
	}
	busy, err := uidHasProcesses(i.uid)
	if err != nil {
		return err
	}
	if busy {
		return appliance.NewProblem(appliance.ErrConflict, "the system user %q still has processes", a.name).
			WithHint("end them: ps -u %s", a.name)
	}
	// Without --force, userdel refuses if the user has zombies. The check above
	// found no other process.
	out, err := changeUsers(ctx, "userdel", "--force", a.name)
	if err != nil && a.made() {
		return fmt.Errorf("removing the system user %q: %w: %s", a.name, err, strings.TrimSpace(string(out)))
	}
	return nil
}
