package routeworld

import (
	"context"
	"errors"

	"pgapp/appliance"
	"pgapp/appliance/endpoint"
)

// build is the program's, and the process's.
const build = "one"

// process is the endpoint process. It takes a state over as the real one does: the state is
// in its file first, and an older one is refused.
type process struct {
	*game
	runs bool
	// frozen is set while it answers nothing; what it leads goes on where it led.
	frozen bool
	held   appliance.Routes
	// file is the last state, which counts for the number of the state that it starts with.
	// Older is an earlier one, which the file may come to hold again, with a later number.
	file, older appliance.Routes
	// full is set while its file takes nothing.
	full bool
}

// rw is where the endpoint for writes leads.
func (p *process) rw() (to *appliance.RouteMember, open bool) {
	if !p.runs || len(p.held.Clusters) == 0 {
		return nil, false
	}
	r := p.held.Clusters[0]
	return r.Primary, r.Primary != nil && !r.Closed
}

func (p *process) hears() error {
	switch {
	case p.dead:
		return errDead
	case !p.runs:
		return endpoint.ErrNotRunning
	case p.frozen:
		return context.DeadlineExceeded
	}
	return nil
}

func (p *process) status() appliance.RouteStatus {
	out := appliance.RouteStatus{Number: p.held.Number, Build: build}
	for _, r := range p.held.Clusters {
		s := appliance.ClusterRouteStatus{Cluster: r.Cluster, Primary: r.Primary, Closed: r.Closed}
		s.RW.Address, s.RO.Address = r.RW, r.RO
		if to, open := p.rw(); open {
			s.RW.To = []string{to.Name}
		}
		out.Clusters = append(out.Clusters, s)
	}
	return out
}

// Status returns what the process says.
func (p *process) Status(context.Context) (appliance.RouteStatus, error) {
	if err := p.hears(); err != nil {
		return appliance.RouteStatus{}, err
	}
	return p.status(), nil
}

// Lives is not always known of a process that runs: a daemon may also ask it again.
func (p *process) Lives(int) bool { return p.runs && !p.dead && p.known.IntN(2) == 0 }

// Ensure starts the process where none answers.
func (p *process) Ensure(_ context.Context, routes appliance.Routes) (appliance.RouteStatus, error) {
	if p.dead {
		return appliance.RouteStatus{}, errDead
	}
	p.frozen = p.frozen && p.runs
	if p.frozen {
		p.end()
	}
	if !p.runs {
		routes.Number = max(routes.Number, p.file.Number+1)
		p.runs = true
		p.keep(routes)
		p.world.Say("  the endpoints start with state %d", p.held.Number)
		p.check()
	}
	return p.status(), nil
}

// keep takes the state over.
func (p *process) keep(routes appliance.Routes) {
	p.older, p.file, p.held = p.file, routes, routes
}

// Apply has the process hold the state.
func (p *process) Apply(_ context.Context, routes appliance.Routes) (appliance.RouteStatus, error) {
	if err := p.hears(); err != nil {
		return appliance.RouteStatus{}, err
	}
	switch {
	case routes.Number <= p.held.Number:
		return p.status(), appliance.NewProblem(appliance.ErrConflict, "it holds %d", p.held.Number)
	case p.full:
		return p.status(), errors.New("the file takes nothing")
	case p.chance(2): // in the middle of its write: the file has the state before
		p.end()
		return appliance.RouteStatus{}, endpoint.ErrNotRunning
	}
	p.keep(routes)
	p.check()
	if p.chance(2) { // before its answer
		p.end()
		return appliance.RouteStatus{}, endpoint.ErrNotRunning
	}
	if p.chance(1) { // it acts, and answers too late
		return appliance.RouteStatus{}, context.DeadlineExceeded
	}
	return p.status(), nil
}

// Kill ends a process that doesn't answer.
func (p *process) Kill(context.Context) error {
	if p.dead {
		return errDead
	}
	p.end()
	return nil
}

// Stop is not asked for: the cluster has endpoints as long as it is played.
func (p *process) Stop(ctx context.Context) error { return p.Kill(ctx) }

func (p *process) end() {
	if p.runs {
		p.world.Say("  the endpoints end, in state %d", p.held.Number)
	}
	p.runs, p.frozen = false, false
}
