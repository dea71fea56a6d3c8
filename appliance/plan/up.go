package plan

import (
	"path/filepath"
	"slices"
	"strings"

	"pgapp/appliance"
)

// up is the graph of up: for a new cluster, for one of that spec, or for one
// whose spec changes.
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

// bring brings a cluster from nothing, or from wherever it is, to its spec. The
// standbys are cloned while the data set is loaded: what is loaded then
// streams once, instead of being written and copied. With a template nothing
// is cloned or loaded: every member is a copy of it, of one identifier.
func (r *recipe) bring(c appliance.Cluster) {
	primary, standbys := c.PrimaryMember(), c.Standbys()
	r.embed(r.provider.CreateSteps(c, c.Members), nil)
	postgres := whole(kindPostgres, "find PostgreSQL 17")
	postgres.Done, postgres.Do = r.binariesKnown, r.findBinaries
	basis := r.add(postgres)
	if c.SharesMachine() { // else what fails there would say so in the words of another program
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

// primarySteps are what the primary needs once it runs.
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

// standbySteps make and start the standbys of up. Those that are copies of the
// template are started while the primary's slots are made, and follow then.
func (r *recipe) standbySteps(standbys []appliance.Member) {
	slots := r.of(kindSlots, "")
	source := slots // a base backup needs WAL kept for it
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

// endSteps finish up, and verify the cluster.
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
	sync, verify := whole(kindSync, "write everything to disk"), whole(kindVerify, "verify the cluster")
	sync.Do, verify.Do = r.syncAll, r.verify
	r.delaySteps(c, r.add(sync, access, streaming), r.add(verify, access, streaming))
}

// startedOf are the steps that start these members.
func (g *graph) startedOf(members []appliance.Member) []*node {
	var out []*node
	for _, m := range members {
		out = append(out, g.of(kindStart, m.Name))
	}
	return out
}

// inTurn is the step that the standby's waits for so that, with a template, no
// more of them than were decided on run at a time: the primary needs a
// processor too. Without a template the steps of standbys wait for other
// things most of the time.
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
