package plan

import (
	"path/filepath"
	"slices"
	"strings"

	"pgapp/appliance"
)

// up draws the graph of up, for a new or an existing cluster, with or without a
// change of its spec.
func (r *recipe) up(c appliance.Cluster) {
	r.wanted()
	if ch := r.op.Params.Change; ch != nil {
		r.upChanged(c, *ch)
	} else {
		r.upUnchanged(c)
	}
	if intent := r.of(kindIntent, ""); intent != nil {
		r.behind(intent, r.nodes)
	}
}

// bring draws the steps that bring a cluster from any state to its spec. The standbys
// are cloned while the data set is loaded, so that the loaded data is streamed once
// instead of written and then copied. With a template, every member is a copy of the
// template with the same system identifier, and nothing is cloned.
func (r *recipe) bring(c appliance.Cluster) {
	primary, standbys := c.PrimaryMember(), c.Standbys()
	r.embed(r.provider.CreateSteps(c, c.Members), nil)
	postgres := whole(kindPostgres, "find PostgreSQL 17")
	postgres.Done, postgres.Do = r.binariesKnown, r.findBinaries
	basis := r.add(postgres)
	if c.SharesMachine() { // the host check explains failures better than PostgreSQL's programs
		basis.need(r.of(appliance.StepHost, ""))
	}
	if r.template != nil {
		identity := whole(kindIdentity, "choose the system identifier")
		identity.Do = r.chooseIdentifier
		basis = r.add(identity)
	}
	made := each(kindInit, primary.Name, "initialise the primary")
	made.Done, made.Do = r.made(primary.Name), r.initialise(primary.Name)
	r.startStep(primary, r.add(made, basis, r.of(appliance.StepMachine, primary.Name)), r.of(kindPostgres, ""))
	r.primarySteps(c, primary)
	r.standbySteps(standbys)
	r.endSteps(c, standbys)
}

// primarySteps draws the steps on the running primary: roles, slots and load.
func (r *recipe) primarySteps(c appliance.Cluster, primary appliance.Member) {
	roles := whole(kindRoles, "create the roles")
	roles.Member, roles.Done, roles.Do = primary.Name, r.rolesThere, r.createRoles
	there := r.add(roles, r.of(kindStart, primary.Name))
	r.slotsStep(primary, there)
	load := whole(kindLoad, "load "+loadTitle(c.Spec))
	load.Member, load.Done, load.Do = primary.Name, r.loaded, r.load
	r.add(load, there)
}

func (r *recipe) slotsStep(primary appliance.Member, needs ...*node) *node {
	slots := whole(kindSlots, "create the replication slots")
	slots.Member, slots.Do = primary.Name, r.createSlots
	return r.add(slots, needs...)
}

// standbySteps draws the steps that make and start the standbys. Copies of the
// template start while the primary's slots are made, and then follow the primary.
func (r *recipe) standbySteps(standbys []appliance.Member) {
	slots := r.of(kindSlots, "")
	source := slots // a base backup needs a slot that keeps WAL
	if r.template != nil {
		source = r.of(kindInit, "") // so that the primary starts while the others are copied
	}
	for i, m := range standbys {
		s := each(appliance.StepClone, m.Name, "clone the standby")
		s.Done, s.Do = r.made(m.Name), r.clone(m.Name)
		clone := r.add(s, r.inTurn(appliance.StepClone, standbys, i), source, r.of(appliance.StepMachine, m.Name))
		var start *node
		if r.template == nil {
			start = r.startStep(m, clone, slots)
		} else {
			start = r.startApartStep(m, r.inTurn(kindStart, standbys, i), clone, r.of(kindPostgres, ""))
		}
		if r.template != nil || r.decision.Follow {
			r.followStep(m, start, slots)
		}
	}
}

// endSteps draws the last steps of up, which verify the cluster.
func (r *recipe) endSteps(c appliance.Cluster, standbys []appliance.Member) {
	ready := r.startedOf(standbys)
	if r.template != nil || r.decision.Follow {
		ready = r.all(kindFollow)
	}
	load, slots := r.of(kindLoad, ""), r.of(kindSlots, "")
	if spaces := r.loadedTablespaces(c, standbys, append(slices.Clone(ready), load)...); spaces != nil {
		ready = append(ready, spaces)
	}
	streaming := r.streamingStep(standbys, append(ready, slots)...)
	access := r.accessStep(load)
	promise := promiseStep(r, access, streaming)
	sync, verify := whole(kindSync, "write everything to disk"), whole(kindVerify, "verify the cluster")
	sync.Do, verify.Do = r.syncAll, r.verify
	r.delaySteps(c, r.add(sync, access, streaming), r.add(verify, access, streaming, promise))
}

// startedOf returns the steps that start the members.
func (g *graph) startedOf(members []appliance.Member) []*node {
	var out []*node
	for _, m := range members {
		out = append(out, g.of(kindStart, m.Name))
	}
	return out
}

// inTurn returns the step that standby i's step of that kind waits for, so that at
// most Decision.Parallel of them run at a time and the primary keeps a processor.
// Without a template inTurn returns nil, since these steps mostly wait.
func (r *recipe) inTurn(kind appliance.StepKind, standbys []appliance.Member, i int) *node {
	if r.template == nil || i < r.decision.Parallel {
		return nil
	}
	return r.of(kind, standbys[i-r.decision.Parallel].Name)
}

func loadTitle(s appliance.Spec) string {
	var parts []string
	if s.Dataset != appliance.DatasetNone {
		parts = append(parts, s.Dataset)
	}
	for _, f := range s.SQL {
		parts = append(parts, filepath.Base(f))
	}
	if len(parts) == 0 {
		return "nothing: create database " + s.Database
	}
	return strings.Join(parts, ", ") + " into database " + s.Database
}
