package ssh

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// UnitState is the state of a systemd unit in the guest.
type UnitState string

// The states of a unit.
const (
	UnitAbsent    UnitState = "absent"
	UnitRunning   UnitState = "running"
	UnitSucceeded UnitState = "succeeded"
	UnitFailed    UnitState = "failed"
)

// Unit is work in the guest that outlives the connection. The name derives from
// the operation and the step, so that a repeat finds the running unit.
type Unit struct {
	// Name ends in .service.
	Name string
	Argv []string
	Env  map[string]string
}

// log is the file of the unit's output; a reboot removes it.
func (u Unit) log() string { return "/run/" + strings.TrimSuffix(u.Name, ".service") + ".log" }

// startScript starts the unit unless it exists; $1 name, $2 log.
const startScript = `name=$1 log=$2
shift 2
: >>"$log"
exec systemd-run --quiet --unit "$name" --remain-after-exit \
	-p "StandardOutput=append:$log" -p "StandardError=append:$log" -- "$@"`

// followScript prints the log from an offset until the unit's main process
// ends; $1 name, $2 log, $3 offset (1 is the start).
const followScript = `pid=$(systemctl show --value -p MainPID -- "$1")
if [ "$pid" -gt 0 ]; then
	exec tail -c "+$3" -s 0.2 -f --pid="$pid" -- "$2"
fi
exec tail -c "+$3" -- "$2"`

// RunUnit starts the unit as root unless it exists, calls onLine with each line
// of output, and returns when the unit has ended. If ctx ends or the connection
// breaks, the unit continues; a repeat follows the unit, with its output from
// the start. A failed unit is an [appliance.ExitError] with the end of the
// output; RunUnit clears the unit, so that a repeat starts it anew.
func (c *Client) RunUnit(ctx context.Context, u Unit, onLine func(string)) error {
	state, err := c.UnitState(ctx, u.Name)
	if err != nil {
		return err
	}
	if state == UnitAbsent {
		if err := c.startUnit(ctx, u); err != nil {
			return fmt.Errorf("starting unit %q on %s: %w", u.Name, c.cfg.Address, err)
		}
	}
	out := newLineTail(onLine)
	state, code, err := c.followUnit(ctx, u, out)
	if err != nil {
		return fmt.Errorf("following unit %q on %s: %w", u.Name, c.cfg.Address, err)
	}
	out.flush()
	if err := c.ClearUnit(ctx, u); err != nil {
		return err
	}
	if state != UnitSucceeded {
		return &appliance.ExitError{Name: u.Name, Code: code, Stderr: string(out.bytes())}
	}
	return nil
}

// startUnit starts the unit with the clean environment of a command.
func (c *Client) startUnit(ctx context.Context, u Unit) error {
	argv, err := words(appliance.Command{Argv: u.Argv, Env: u.Env}, "", "")
	if err != nil {
		return err
	}
	_, err = c.As("root").Run(ctx, appliance.Command{
		Argv: append([]string{"sh", "-c", startScript, "sh", u.Name, u.log()}, argv...),
	})
	return err
}

// followUnit survives lost connections: it resumes at the next unread byte.
func (c *Client) followUnit(ctx context.Context, u Unit, out *lineTail) (UnitState, int, error) {
	counted := &counter{to: out}
	var state UnitState
	var code int
	err := wait.Until(ctx, pollEvery, func(ctx context.Context) (bool, error) {
		err := c.followOnce(ctx, u, counted)
		if err == nil {
			state, code, err = c.unitState(ctx, u.Name)
		}
		switch {
		case err == nil && state == UnitAbsent:
			return true, errors.New("the unit is gone: did the machine reboot?")
		case err == nil:
			return state != UnitRunning, nil
		case ctx.Err() != nil || ReasonOf(err) == "" || ReasonOf(err) == ReasonHostKey:
			return true, err
		}
		return false, nil // the connection was lost, not the unit
	})
	return state, code, err
}

func (c *Client) followOnce(ctx context.Context, u Unit, out *counter) error {
	_, err := c.As("root").Run(ctx, appliance.Command{
		Argv:   []string{"sh", "-c", followScript, "sh", u.Name, u.log(), strconv.FormatInt(out.n+1, 10)},
		Stdout: out,
	})
	return err
}

// UnitState returns the unit's present state.
func (c *Client) UnitState(ctx context.Context, name string) (UnitState, error) {
	state, _, err := c.unitState(ctx, name)
	return state, err
}

func (c *Client) unitState(ctx context.Context, name string) (UnitState, int, error) {
	r, err := c.As("").Run(ctx, appliance.Command{Argv: []string{
		"systemctl", "show", "-p", "LoadState,ActiveState,SubState,ExecMainStatus", "--", name,
	}})
	if err != nil {
		return "", 0, fmt.Errorf("asking for unit %q on %s: %w", name, c.cfg.Address, err)
	}
	return parseUnit(string(r.Stdout))
}

func parseUnit(text string) (UnitState, int, error) {
	p := map[string]string{}
	for line := range strings.Lines(text) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		p[k] = v
	}
	code, _ := strconv.Atoi(p["ExecMainStatus"]) // absent if the unit never ran
	switch {
	case p["LoadState"] == "not-found":
		return UnitAbsent, 0, nil
	case p["ActiveState"] == "failed":
		return UnitFailed, code, nil
	case p["ActiveState"] == "active" && p["SubState"] == "exited":
		return UnitSucceeded, code, nil
	case p["ActiveState"] == "active", p["ActiveState"] == "activating", p["ActiveState"] == "deactivating", p["ActiveState"] == "reloading":
		return UnitRunning, 0, nil
	case p["ActiveState"] == "inactive":
		return UnitAbsent, 0, nil
	}
	return "", 0, fmt.Errorf("systemctl's answer isn't understood: %.200q", text)
}

// ClearUnit stops the unit if it runs, and removes its state and log. A repeat
// does nothing.
func (c *Client) ClearUnit(ctx context.Context, u Unit) error {
	const script = `systemctl stop -- "$1" 2>/dev/null
systemctl reset-failed -- "$1" 2>/dev/null
rm -f -- "$2"`
	if _, err := c.As("root").Run(ctx, appliance.Command{Argv: []string{"sh", "-c", script, "sh", u.Name, u.log()}}); err != nil {
		return fmt.Errorf("clearing unit %q on %s: %w", u.Name, c.cfg.Address, err)
	}
	return nil
}

// counter counts the bytes written.
type counter struct {
	to *lineTail
	n  int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.to.Write(p)
}
