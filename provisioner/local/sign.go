package local

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"time"

	"pgapp/appliance"
)

// States of a process in /proc (proc_pid_stat(5)).
const (
	stateStopped = 'T'
	stateTraced  = 't'
)

// Sign tells from /proc and from the cgroup whether the member's postmaster exists
// and gets a processor.
func (p *Provider) Sign(ctx context.Context, c appliance.Cluster, m appliance.Member) (appliance.Sign, error) {
	if err := ctx.Err(); err != nil {
		return appliance.Sign{}, err
	}
	mc, now := p.machine(c, m), time.Now()
	sign, ok, events := p.glances.sign(mc, now)
	if ok {
		return sign, nil
	}
	if pm, state, ok := p.known.recognize(mc); ok {
		sign = p.cgroups.signIn(state, pm.p)
		if sign.Vital == appliance.VitalRunning { // nobody else has to be told of it
			p.glances.keep(mc, pm, sign, events, now)
		}
		return sign, nil
	}
	own, err := mc.owned()
	switch {
	case err != nil:
		return appliance.Sign{}, err
	case own == absent:
		return appliance.Sign{Vital: appliance.VitalGone, Detail: "the member has no directory"}, nil
	case own == foreign:
		return appliance.Sign{}, foreignProblem(mc.dir, mc.cluster)
	}
	pm, ok, err := mc.postmaster()
	switch {
	case appliance.IsProblem(err, appliance.ErrHostNoUser): // which runs no process
		return appliance.Sign{Vital: appliance.VitalGone, Detail: "the server's user doesn't exist"}, nil
	case err != nil:
		return appliance.Sign{}, err
	case !ok:
		return noPostmaster(), nil
	}
	p.known.meet(mc, pm)
	return p.cgroups.signOf(pm), nil
}

func noPostmaster() appliance.Sign {
	return appliance.Sign{Vital: appliance.VitalGone, Detail: "no postmaster"}
}

// signOf tells how the process is.
func (c cgroups) signOf(p proc) appliance.Sign {
	state, _ := p.stat()
	return c.signIn(state, p)
}

// signIn tells how the process is, which is in that state. A process that is stopped
// while a debugger follows it counts as debugged.
func (c cgroups) signIn(state byte, p proc) appliance.Sign {
	sign := func(v appliance.Vital, what string) appliance.Sign {
		return appliance.Sign{Vital: v, Detail: fmt.Sprintf("process %d%s", p.pid, what)}
	}
	switch {
	case state == 0 || state == 'Z' || state == 'X':
		return sign(appliance.VitalGone, " has ended")
	case state == stateTraced || state == stateStopped && p.traced():
		return sign(appliance.VitalDebugged, " is held by a debugger")
	case state == stateStopped:
		return sign(appliance.VitalHalted, " is stopped")
	case c.frozen(p):
		return sign(appliance.VitalHalted, ": its cgroup is frozen")
	}
	return sign(appliance.VitalRunning, "")
}

// traced reports whether a debugger follows the process.
func (p proc) traced() bool {
	status, err := readKernel(p.path("status"))
	if err != nil {
		return false
	}
	_, rest, found := bytes.Cut(status, []byte("\nTracerPid:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return found && string(bytes.TrimSpace(line)) != "0"
}

// frozen reports whether the process's cgroup, or one above it, is frozen. The
// process may be in another cgroup than pgapp's: somebody moved it, or it is in a
// scope.
func (c cgroups) frozen(p proc) bool {
	dir := c.ofProc(p)
	if dir == "" {
		return false
	}
	data, err := readKernel(filepath.Join(dir, eventsFile))
	return err == nil && bytes.Contains(data, []byte("frozen 1"))
}
