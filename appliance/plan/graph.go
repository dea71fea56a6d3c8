package plan

import (
	"slices"

	"pgapp/appliance"
)

// The kinds of step that only plans know.
const (
	kindAccess      appliance.StepKind = "access"
	kindApply       appliance.StepKind = "apply"
	kindCheck       appliance.StepKind = "check"
	kindDelay       appliance.StepKind = "delay"
	kindFollow      appliance.StepKind = "follow"
	kindForget      appliance.StepKind = "forget"
	kindIdentity    appliance.StepKind = "identity"
	kindInit        appliance.StepKind = "init"
	kindIntent      appliance.StepKind = "intent"
	kindKnown       appliance.StepKind = "known"
	kindEpoch       appliance.StepKind = "epoch"
	kindLetIn       appliance.StepKind = "letin"
	kindLoad        appliance.StepKind = "load"
	kindPostgres    appliance.StepKind = "postgres"
	kindPower       appliance.StepKind = "power"
	kindPowerOff    appliance.StepKind = "poweroff"
	kindRecord      appliance.StepKind = "record"
	kindResize      appliance.StepKind = "resize"
	kindRoles       appliance.StepKind = "roles"
	kindSettle      appliance.StepKind = "settle"
	kindSize        appliance.StepKind = "size"
	kindSlots       appliance.StepKind = "slots"
	kindFence       appliance.StepKind = "fence"
	kindStart       appliance.StepKind = "start"
	kindStop        appliance.StepKind = "stop"
	kindStreaming   appliance.StepKind = "streaming"
	kindSync        appliance.StepKind = "sync"
	kindTablespaces appliance.StepKind = "tablespaces"
	kindUnslot      appliance.StepKind = "unslot"
	kindVerify      appliance.StepKind = "verify"
	kindWipe        appliance.StepKind = "wipe"
)

// node is a step in a graph. Its edges are other nodes, not ids.
type node struct {
	step  appliance.Step
	needs []*node
}

// need adds edges to the steps that must succeed before n. Nil nodes, which stand for
// steps not in the graph, are ignored.
func (n *node) need(before ...*node) {
	for _, b := range before {
		if b != nil && !slices.Contains(n.needs, b) {
			n.needs = append(n.needs, b)
		}
	}
}

// graph is a plan under construction. To draw a step is to add it to the graph.
type graph struct{ nodes []*node }

// whole returns a step that a plan has once.
func whole(kind appliance.StepKind, title string) appliance.Step {
	return appliance.Step{ID: string(kind), Kind: kind, Title: title}
}

// each returns a member's step, of a kind that several members may have.
func each(kind appliance.StepKind, member, title string) appliance.Step {
	return appliance.Step{ID: string(kind) + "/" + member, Kind: kind, Title: title, Member: member}
}

// add draws the step, after the steps in needs.
func (g *graph) add(s appliance.Step, needs ...*node) *node {
	n := &node{step: s}
	n.need(needs...)
	g.nodes = append(g.nodes, n)
	return n
}

// embed draws steps that come with edges between them, such as a provider's.
// Steps without edges begin after first, which may be nil.
func (g *graph) embed(steps []appliance.Step, first *node) {
	byID := make(map[string]*node, len(steps))
	for _, s := range steps {
		ids := s.After
		s.After = nil
		n := g.add(s)
		for _, id := range ids {
			before, ok := byID[id]
			if !ok { // the runner refuses an unknown id
				n.step.After = append(n.step.After, id)
				continue
			}
			n.need(before)
		}
		if len(ids) == 0 {
			n.need(first)
		}
		byID[s.ID] = n
	}
}

// of returns the member's step of that kind, or nil if the graph has none. An
// empty member means the first step of that kind.
func (g *graph) of(kind appliance.StepKind, member string) *node {
	for _, n := range g.nodes {
		if n.step.Kind == kind && (member == "" || n.step.Member == member) {
			return n
		}
	}
	return nil
}

// all returns the steps of those kinds.
func (g *graph) all(kinds ...appliance.StepKind) []*node {
	var out []*node
	for _, n := range g.nodes {
		if slices.Contains(kinds, n.step.Kind) {
			out = append(out, n)
		}
	}
	return out
}

// behind makes the steps without edges wait for first.
func (g *graph) behind(first *node, nodes []*node) {
	for _, n := range nodes {
		if n != first && len(n.needs) == 0 && len(n.step.After) == 0 {
			n.need(first)
		}
	}
}

// steps returns the plan. Each step comes after the steps that it needs, and
// otherwise in the order of drawing.
func (g *graph) steps() []appliance.Step {
	out := make([]appliance.Step, 0, len(g.nodes))
	placed := map[*node]bool{}
	for rest := g.nodes; len(rest) > 0; {
		var later []*node
		for _, n := range rest {
			if slices.ContainsFunc(n.needs, func(b *node) bool { return !placed[b] }) {
				later = append(later, n)
				continue
			}
			placed[n] = true
			out = append(out, n.plain())
		}
		if len(later) == len(rest) { // the runner refuses a cycle
			for _, n := range later {
				out = append(out, n.plain())
			}
			return out
		}
		rest = later
	}
	return out
}

// plain returns the step with its edges as ids in After.
func (n *node) plain() appliance.Step {
	s := n.step
	s.After = slices.Clone(s.After)
	for _, b := range n.needs {
		s.After = append(s.After, b.step.ID)
	}
	return s
}
