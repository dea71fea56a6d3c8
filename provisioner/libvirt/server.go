package libvirt

import (
	"context"
	"errors"
	"fmt"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

// startScript starts the unit, and waits until the server has written its
// status, the eighth line of postmaster.pid, or has ended. If it ended, the
// script prints the server's log and exits with startFailed. A postmaster.pid
// that a fence left behind may name the new process's number, so an unchanged
// file is ignored.
const startScript = `systemctl reset-failed -- "$1" 2>/dev/null
file=$2/postmaster.pid
[ "$(systemctl show --value -p ActiveState -- "$1")" = active ] || old=$(stat -c '%i %y' -- "$file" 2>/dev/null)
from=$(stat -c %s -- "$3" 2>/dev/null || echo 0)
systemctl start -- "$1"
code=$?
pid=$(systemctl show --value -p MainPID -- "$1") || exit
while [ "${pid:-0}" -gt 0 ] && [ -d "/proc/$pid" ]; do
	now=$(stat -c '%i %y' -- "$file" 2>/dev/null)
	if [ "$now" != "${old:-}" ] && [ "$(sed -n '1p;8s/.*/written/p' "$file" 2>/dev/null | tr '\n' ' ')" = "$pid written " ]; then exit 0; fi
	sleep 0.05
done
said=$(tail -c "+$((from + 1))" -- "$3" | tail -c 8192)
[ "$code" = 0 ] || [ -n "$said" ] || exit "$code"
printf %s "$said"
exit 101`

const startFailed = 101

// StartServer starts our unit. Only pgapp starts it.
func (g *guest) StartServer(ctx context.Context) error {
	lay := g.Layout()
	log, err := g.root(ctx, startScript, serverUnit, lay.DataDir, lay.LogFile)
	var exit *appliance.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.Code == startFailed:
		reason, id := appliance.ServerReason(log)
		return appliance.NewProblem(id, "PostgreSQL of member %s did not start: %s", g.member.Name, reason).
			WithHint("pgapp logs %s shows its log", g.member.Name).WithDetail(printable([]byte(log)))
	}
	return fmt.Errorf("starting PostgreSQL on %q: %w", g.member.Name, err)
}

// stopScript sends the unit the signal of pg_ctl's mode, and waits until its
// last process has ended.
const stopScript = `[ "$(systemctl show --value -p ActiveState -- "$1")" != inactive ] || exit 0
systemctl kill --kill-whom=main --signal="$2" -- "$1" 2>/dev/null
exec systemctl stop -- "$1"`

// StopServer stops our unit. When ctx ends first the error is a Problem with id
// postgres-stop-failed, and a shutdown that has begun goes on. A machine that
// is off runs no server; one that is paused is a Problem with id
// member-unreachable, at once.
func (g *guest) StopServer(ctx context.Context, mode appliance.StopMode) error {
	if d, err := g.machines.domainOf(ctx, g.uuid, g.member); err == nil && d.State == rpc.DomainPaused {
		return appliance.NewProblem(appliance.ErrMemberUnreachable, "the machine of member %s is paused", g.member.Name).
			WithHint("let it go on: pgapp start %s", g.member.Name)
	}
	signal := "SIGINT"
	if mode == appliance.StopImmediate {
		signal = "SIGQUIT"
	}
	_, err := g.root(ctx, stopScript, serverUnit, signal)
	if err == nil {
		return nil
	}
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), busyLimit)
	defer cancel()
	if g.off(look) {
		return nil
	}
	if ctx.Err() != nil {
		return appliance.NewProblem(appliance.ErrPostgresStop, "PostgreSQL of member %s did not stop (%s): %w", g.member.Name, mode, err).
			WithHint("pgapp logs %s shows what it waits for", g.member.Name)
	}
	return fmt.Errorf("stopping PostgreSQL on %q: %w", g.member.Name, err)
}

// ServerRunning asks the guest's systemd, unless the machine is off.
func (g *guest) ServerRunning(ctx context.Context) (bool, error) {
	state, err := g.root(ctx, `systemctl show --value -p ActiveState -- "$1"`, serverUnit)
	if err != nil && g.off(ctx) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("asking for PostgreSQL on %q: %w", g.member.Name, err)
	}
	return state != "inactive" && state != "failed", nil
}
