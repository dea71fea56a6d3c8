package drill

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

const (
	// settleLimit is how long a cluster of local members may take to become sound after a
	// change.
	settleLimit = 20 * time.Second
	// checkPause is the pause between two looks.
	checkPause = 50 * time.Millisecond
)

// Cluster is the cluster that is checked.
type Cluster struct {
	Config
	// Status returns what pgapp has on record and observes.
	Status func(context.Context) (appliance.ClusterStatus, error)
	// Settle is how long the cluster may take to become sound. The default is for local
	// members.
	Settle time.Duration
}

// Rule is what a cluster owes its users.
type Rule string

// The rules.
const (
	// RuleKept: every member has every acknowledged row.
	RuleKept Rule = "kept"
	// RuleOne: at most one member acknowledges rows at any time.
	RuleOne Rule = "one at a time"
	// RuleStreams: every member gets what is written now.
	RuleStreams Rule = "streams"
	// RuleRecord: what is on record is what the servers do.
	RuleRecord Rule = "record"
	// RuleLeft: nothing of a change is left.
	RuleLeft Rule = "nothing left"
	// RuleBack: after a fault all serve and stream again without a person.
	RuleBack Rule = "back"
	// RuleLed: the endpoint for writes leads to a member that takes them.
	RuleLed Rule = "led"
)

// Finding is a rule that a cluster has broken.
type Finding struct {
	Rule   Rule   `json:"rule"`
	Detail string `json:"detail"`
}

func (f Finding) String() string { return string(f.Rule) + ": " + f.Detail }

// Check returns what breaks the rules in a cluster after the writers of h have stopped,
// nothing if the cluster is sound. A cluster that still settles is looked at again for a
// while; the findings are those of the last look.
func Check(ctx context.Context, c Cluster, h History) []Finding {
	var found []Finding
	limited, cancel := context.WithTimeout(ctx, cmp.Or(c.Settle, settleLimit))
	defer cancel()
	_ = wait.Until(limited, checkPause, func(ctx context.Context) (bool, error) {
		look := c.look(ctx, h)
		if ctx.Err() == nil || found == nil {
			found = look
		}
		return len(look) == 0, nil
	}) // at the limit, the last look counts
	for _, two := range h.TwoAtOnce() {
		found = append(found, Finding{RuleOne, two})
	}
	for _, misled := range h.Misled {
		found = append(found, Finding{RuleLed, misled})
	}
	return found
}

// look looks at the cluster once.
func (c Cluster) look(ctx context.Context, h History) []Finding {
	s, err := c.Status(ctx)
	if err != nil {
		return []Finding{{RuleRecord, "pgapp doesn't answer: " + err.Error()}}
	}
	out := left(s)
	probe, err := c.probe(ctx, s.Primary)
	if err != nil {
		out = append(out, Finding{RuleStreams, "the recorded primary takes no row: " + err.Error()})
	}
	probed := err == nil
	for _, m := range s.Members {
		has, err := observe(ctx, c.Config, m.Name)
		if err != nil {
			out = append(out, Finding{RuleStreams, err.Error()})
			continue
		}
		if lost := h.Lost(has.rows); len(lost) > 0 {
			out = append(out, Finding{RuleKept, fmt.Sprintf("%s lacks %d of %d acknowledged rows, such as %v", m.Name, len(lost), len(h.Acknowledged()), lost[0])})
		}
		if probed && !has.rows[probe] {
			out = append(out, Finding{RuleStreams, m.Name + " has not got the row that was written last"})
		}
		out = append(out, has.against(s, m.Name)...)
	}
	return out
}

// left returns what the record and the observation still have of a change.
func left(s appliance.ClusterStatus) []Finding {
	var out []Finding
	add := func(r Rule, format string, args ...any) { out = append(out, Finding{r, fmt.Sprintf(format, args...)}) }
	if s.Operation != "" {
		add(RuleLeft, "operation %s runs", s.Operation)
	}
	if s.Change != nil {
		add(RuleLeft, "a %s of %s is on record in phase %s", s.Change.Kind, s.Change.From, s.Change.Phase)
	}
	if s.Phase != appliance.PhaseReady {
		add(RuleLeft, "the cluster is %s", s.Phase)
	}
	for _, m := range s.Members {
		switch {
		case m.State == appliance.StateFenced:
			add(RuleLeft, "%s has to be brought back: %s", m.Name, m.Detail)
		case m.Name == s.Primary && m.State != appliance.StateRunning, m.Name != s.Primary && m.State != appliance.StateStreaming:
			add(RuleStreams, "%s is %s: %s", m.Name, m.State, m.Detail)
		}
	}
	if n := len(s.Promotions); n > 0 {
		if p := s.Promotions[n-1]; p.Member != s.Primary || p.Epoch != s.Epoch || p.Timeline != s.Timeline {
			add(RuleRecord, "%s is the primary in epoch %d on timeline %d, but the last promotion is of %s in epoch %d to timeline %d",
				s.Primary, s.Epoch, s.Timeline, p.Member, p.Epoch, p.Timeline)
		}
	}
	return out
}

// against compares what a member does with what is on record.
func (o observation) against(s appliance.ClusterStatus, member string) []Finding {
	var out []Finding
	add := func(r Rule, format string, args ...any) { out = append(out, Finding{r, fmt.Sprintf(format, args...)}) }
	if o.writes != (member == s.Primary) {
		add(RuleRecord, "%s is the primary on record, and %s takes writes: %t", s.Primary, member, o.writes)
	}
	if o.writes && o.timeline != s.Timeline {
		add(RuleRecord, "timeline %d is on record, and %s writes timeline %d", s.Timeline, member, o.timeline)
	}
	if p := s.Promise; o.writes && p != nil && !holds(o.setting, *p) {
		add(RuleRecord, "%s is promised, but %s has synchronous_standby_names %q", p, member, o.setting)
	}
	for _, m := range s.Members {
		i := slices.Index(o.slots, appliance.SlotName(m.Name))
		if o.writes && m.Name != member && i < 0 {
			add(RuleStreams, "%s has no slot for %s", member, m.Name)
		}
		if i >= 0 && m.Name != member {
			o.slots = slices.Delete(slices.Clone(o.slots), i, i+1)
		}
	}
	if len(o.slots) > 0 {
		add(RuleLeft, "%s has slots that nobody needs: %q", member, o.slots)
	}
	return out
}
