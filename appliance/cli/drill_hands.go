package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/drill"
	"pgapp/appliance/program"
	"pgapp/appliance/wait"
)

// drillHands strike the cluster of a drill from outside: the daemon has no part in a
// fault.
type drillHands struct {
	drillCommands
	api *api.Client
}

// Status returns what pgapp has on record and observes.
func (h drillHands) Status(ctx context.Context) (appliance.ClusterStatus, error) {
	return h.api.Status(ctx, h.cluster)
}

// Operations returns the cluster's operations.
func (h drillHands) Operations(ctx context.Context) ([]appliance.Operation, error) {
	return h.api.Operations(ctx, h.cluster)
}

// Resume has the failovers so far not count any more.
func (h drillHands) Resume(ctx context.Context) error {
	_, err := h.api.Pauses(h.cluster).Resume(ctx)
	return err
}

// Switchover begins a switchover.
func (h drillHands) Switchover(ctx context.Context) error {
	_, err := h.api.Submit(ctx, h.cluster, appliance.OpSwitchover, appliance.OperationParams{})
	return err
}

// Strike strikes the member: a process of this machine, a process in a virtual machine, or
// the machine.
func (h drillHands) Strike(ctx context.Context, member string, f drill.Fault) (drill.Struck, error) {
	hit := drill.Struck{Member: member, Undo: func() {}}
	conn, err := h.api.Connection(ctx, h.cluster, roleAdmin, false)
	if err != nil {
		return hit, err
	}
	hosts, err := sessionCommands{h.app}.onlyMember(conn.Hosts, member)
	if err != nil {
		return hit, err
	}
	at := hosts[0].Local
	if at == nil {
		return hit, appliance.NewProblem(appliance.ErrInternal, "the daemon does not say where %s runs", member)
	}
	if at.Machine {
		return h.strikeMachine(ctx, hit, hosts[0], f)
	}
	if f == drill.FaultPowerOff { // a primary on the host beside virtual machines
		f = drill.FaultKillMember
	}
	server, err := drill.FindServer(filepath.Join(at.SocketDir, socketLock(hosts[0].Port)))
	if err != nil {
		return hit, err
	}
	hit.Gone = server.Gone
	if f == drill.FaultCut {
		hit.Undo, err = drill.Cut(ctx, hosts[0].Host, hosts[0].Port)
		return hit, err
	}
	hit.Undo, err = server.Strike(f)
	return hit, err
}

// socketLock is the name of PostgreSQL's lock file beside its socket.
func socketLock(port int) string { return ".s.PGSQL." + strconv.Itoa(port) + ".lock" }

// strikeMachine strikes a member in a virtual machine.
func (h drillHands) strikeMachine(ctx context.Context, hit drill.Struck, at appliance.HostPort, f drill.Fault) (drill.Struck, error) {
	virsh := func(word string) error {
		return run(ctx, "virsh", "--connect", "qemu:///system", word, at.Local.Domain)
	}
	first := func(signal string) error {
		lock := filepath.Join(at.Local.SocketDir, socketLock(at.Port))
		return h.self(ctx, "ssh", hit.Member, "--", "sudo", "sh", "-c", shellQuote("kill -"+signal+" $(head -n 1 "+shellQuote(lock)+")"))
	}
	switch f {
	case drill.FaultPowerOff:
		return hit, virsh("destroy")
	case drill.FaultFreeze:
		hit.Undo = func() {
			_ = run(context.WithoutCancel(ctx), "virsh", "--connect", "qemu:///system", "resume", at.Local.Domain) // it may be off
		}
		return hit, virsh("suspend")
	case drill.FaultKill:
		return hit, first("KILL")
	case drill.FaultHalt:
		hit.Undo = func() { _ = first("CONT") }
		return hit, first("STOP")
	case drill.FaultKillMember:
		return hit, h.self(ctx, "ssh", hit.Member, "--", "sudo", "systemctl", "kill", "--signal=KILL", "pgapp-postgres")
	case drill.FaultCut, drill.FaultSwitchover, drill.FaultDaemon, drill.FaultEndpoint, drill.FaultRandom:
	}
	return hit, fmt.Errorf("no fault of a member: %s", f)
}

// interruptLimit bounds the end of a program that was interrupted.
const interruptLimit = 5 * time.Second

// run runs a program, and returns what it says as an error. When ctx ends, the program and
// all that it has started get a SIGINT: psql then has the server give up its statement, and
// ends after it. They are a group of their own, since a Ctrl-C of the terminal would also
// reach those that run to their end.
func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = interruptLimit
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

// self runs a command of this program on the same home and cluster.
func (h drillCommands) self(ctx context.Context, command string, args ...string) error {
	path, err := program.Executable()
	if err != nil {
		return err
	}
	return run(ctx, path, append([]string{command, "--home", h.home, "--cluster", h.cluster, "--quiet"}, args...)...)
}

// EndEndpoint kills the process behind the endpoints, which the daemon starts again.
func (h drillHands) EndEndpoint(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, daemonTimeout)
	defer cancel()
	return h.local.KillEndpoint(ctx, h.home)
}

// EndDaemon kills the daemon, and starts it again with the arguments that it had. Where a
// service manager does that, the manager's is taken.
func (h drillHands) EndDaemon(ctx context.Context) error {
	info, err := h.api.Info(ctx)
	if err != nil {
		return err
	}
	again := h.likeDaemon(info.PID)
	if err := syscall.Kill(info.PID, syscall.SIGKILL); err != nil {
		return fmt.Errorf("killing the daemon: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, daemonTimeout)
	defer cancel()
	if err := wait.Until(limited, pollEvery, func(context.Context) (bool, error) { return ended(info.PID), nil }); err != nil {
		return fmt.Errorf("waiting for the end of the killed daemon: %w", err)
	}
	if info.PID != 0 && again.managed {
		return wait.Until(limited, pollEvery, func(ctx context.Context) (bool, error) {
			_, err := h.api.Info(ctx)
			return err == nil, nil
		})
	}
	return again.startDaemon(ctx, h.api)
}

// daemonLike starts a daemon like another one.
type daemonLike struct {
	link
	// managed is set if a service manager starts the daemon.
	managed bool
}

// likeDaemon reads how the daemon was started.
func (h drillHands) likeDaemon(pid int) daemonLike {
	out := daemonLike{link: h.link}
	read := func(name string) []string {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
		if err != nil {
			return nil
		}
		return strings.Split(string(text), "\x00")
	}
	for _, kv := range read("environ") {
		if v, ok := strings.CutPrefix(kv, "PGAPP_LISTEN="); ok {
			out.listen = v
		}
		out.managed = out.managed || strings.HasPrefix(kv, "INVOCATION_ID=") // systemd.exec(5)
	}
	argv := read("cmdline")
	for i := 0; i+1 < len(argv); i++ {
		switch argv[i] {
		case "--listen":
			out.listen = argv[i+1]
		case "--tls-cert":
			out.tls.cert = argv[i+1]
		case "--tls-key":
			out.tls.key = argv[i+1]
		}
	}
	return out
}

// drillBase is the drill's database.
type drillBase struct{ drillCommands }

// strangers fails where the database has a table that no drill has made, or a drill works
// in it.
const strangersSQL = `DO $do$ BEGIN
IF EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
	WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND relname NOT IN ('drill_rows', 'drill_rows_pkey')) THEN
	RAISE 'it has tables that no drill has made';
END IF;
IF EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE datname = pg_catalog.current_database() AND application_name = 'pgapp drill') THEN
	RAISE 'another drill works in it';
END IF;
END $do$`

// create makes the database. One that a killed drill has left is removed before.
func (b drillBase) create(ctx context.Context) error {
	if b.sql(ctx, appliance.DrillDatabase, "SELECT 1") == nil {
		if err := b.sql(ctx, appliance.DrillDatabase, strangersSQL); err != nil {
			return appliance.NewProblem(appliance.ErrConflict, "no drill: there is a database %s: %w", appliance.DrillDatabase, err).
				WithHint("the drill needs that name: wait for the other drill, or rename the database")
		}
		b.note("removing the database that an earlier drill has left")
		if err := b.drop(ctx); err != nil {
			return err
		}
	}
	return b.sql(ctx, "postgres", "CREATE DATABASE "+appliance.DrillDatabase+" OWNER app TEMPLATE template0")
}

func (b drillBase) drop(ctx context.Context) error {
	return b.sql(ctx, "postgres", "DROP DATABASE IF EXISTS "+appliance.DrillDatabase+" WITH (FORCE)")
}

// leave removes the database as soon as the primary lets it, where it may wait for the
// cluster, and else at once.
func (b drillBase) leave(ctx context.Context, c *api.Client, patient bool) error {
	if !patient {
		return b.drop(ctx)
	}
	var last error
	err := wait.Until(ctx, pollEvery, func(ctx context.Context) (bool, error) {
		s, err := c.Status(ctx, b.cluster)
		if err == nil {
			if found := drill.Whole(s); len(found) > 0 {
				err = errors.New(found[0].String())
			}
		}
		if last = err; err == nil {
			last = b.drop(ctx)
		}
		return last == nil, nil
	})
	if err != nil && last != nil {
		return last
	}
	return err
}

// sql runs a statement as superuser.
func (h drillCommands) sql(ctx context.Context, database, statement string) error {
	return h.self(ctx, "psql", "--role", roleAdmin, "--", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement)
}
