package plan

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
	"pgapp/appliance/postgres/template"
)

// Decide makes the decision of a stored operation.
func (p *Planner) Decide(ctx context.Context, o appliance.Operation) (appliance.Decision, error) {
	c, err := p.cfg.Store.Cluster(ctx, o.Cluster)
	if err != nil {
		return appliance.Decision{}, err
	}
	return p.DecideOn(ctx, o, c)
}

// DecideOn makes the decision of an operation on the cluster c, which need not be
// stored. DecideOn changes nothing.
func (p *Planner) DecideOn(ctx context.Context, o appliance.Operation, c appliance.Cluster) (appliance.Decision, error) {
	d := appliance.Decision{Phase: c.Phase, Initialised: c.Initialised, Promise: promises(c, o.Params.Change), Primary: movedBy(o, c)}
	if o.Kind != appliance.OpUp {
		return d, nil
	}
	if d.Restart = p.waiting(ctx, o, c); len(d.Restart) > 0 {
		d.Primary = c.Primary
	}
	var err error
	if d.Postgres, err = p.postgresOrigin(ctx, c); err != nil || !unused(c) || d.Postgres != appliance.PostgresOfTree {
		return d, err
	}
	t := p.cfg.Template(c.Spec)
	switch {
	case t != nil && (c.SystemIdentifier == "" || c.Template == identity(t)):
		// The primary, which all members need, keeps one processor.
		d.Template, d.Parallel = identity(t), max(1, runtime.NumCPU()-1)
	case c.SystemIdentifier != "":
		// An older program made copies without recording the template.
		d.Follow = c.Template != "" || t != nil
	}
	return d, nil
}

// waitingLimit bounds the question which parameters wait for a restart.
const waitingLimit = 5 * time.Second

// waiting returns the parameters that wait for a restart of the running primary, as an
// earlier change that was cancelled leaves them. An up that changes nothing applies them,
// and moves the primary for it. A primary that gives no answer restarts in place.
func (p *Planner) waiting(ctx context.Context, o appliance.Operation, c appliance.Cluster) []string {
	provider, ok := p.cfg.Providers[c.Spec.Provider]
	if !ok || o.Params.Change != nil || c.Phase != appliance.PhaseReady || len(c.Standbys()) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, waitingLimit)
	defer cancel()
	m := c.PrimaryMember()
	mc := provider.Machine(c, m)
	if running, err := mc.ServerRunning(ctx); err != nil || !running {
		return nil
	}
	if names, err := postgres.WaitingForRestart(ctx, mc, m.Port); err == nil {
		return names
	}
	return nil
}

// postgresOrigin returns the recorded origin, or else the origin that this machine
// offers. It is empty if the spec names PostgreSQL's directory.
func (p *Planner) postgresOrigin(ctx context.Context, c appliance.Cluster) (appliance.PostgresOrigin, error) {
	switch {
	case c.Spec.PostgresBin != "":
		return "", nil
	case c.PostgresBin != "" && c.PostgresTree:
		return appliance.PostgresOfTree, nil
	case c.PostgresBin != "":
		return appliance.PostgresOfHost, nil
	}
	found, err := p.cfg.HostPostgres(ctx)
	if err != nil {
		return "", fmt.Errorf("looking for PostgreSQL on this machine: %w", err)
	}
	if found {
		return appliance.PostgresOfHost, nil
	}
	return appliance.PostgresOfTree, nil
}

// identity returns the hash of the template's archive.
func identity(t *template.Template) string { return t.Manifest.SHA256 }

// decidedTemplate returns the template with that identity, or nil if the program does
// not have it. Without the template, initdb and clones make the missing members.
func (p *Planner) decidedTemplate(s appliance.Spec, id string) *template.Template {
	if t := p.cfg.Template(s); t != nil && identity(t) == id {
		return t
	}
	return nil
}
