package ha

import (
	"cmp"
	"fmt"
	"slices"

	"pgapp/appliance"
)

// DefaultLag is how far a candidate may be behind the last position known of
// the primary where no quorum is promised: 16 MiB, a WAL segment.
const DefaultLag appliance.LSN = 16 << 20

// UnfitWrites is why a member that takes writes is no candidate.
const UnfitWrites = "accepts writes"

// Known is what the record and earlier looks say of the cluster.
type Known struct {
	Identifier string
	// Line is the timeline on record, with its ancestors.
	Line    appliance.Line
	Promise appliance.Promise
	// Primary is the member on record. It is no candidate.
	Primary string
	// Epoch is the epoch on record.
	Epoch uint64
	// Seen is the last flushed position that a look at the primary found, or 0.
	Seen appliance.LSN
}

// Standing is what the record and a look say of a standby.
type Standing struct {
	Member string
	// Return is the member's on record: one that has to be brought back first
	// proves nothing.
	Return appliance.WayBack
	// Answered is set where the look got an answer. Without an answer the fields
	// below say nothing.
	Answered bool
	// Awaited is set where there was no answer, but the member is known to run or
	// answered before: it may have more WAL than those that answer.
	Awaited bool
	// Primary is set where the server is not in recovery.
	Primary    bool
	Identifier string
	Line       appliance.Line
	// Received and Replayed are positions. The received one is lost with a
	// restart of the server.
	Received, Replayed appliance.LSN
	// Detached is set where no receiver brings more.
	Detached bool
	// Settled is set where two looks in a row found the same position.
	Settled bool
	// Unfit is why PostgreSQL could not promote the member, or empty.
	Unfit string
}

// Position is how far the member's WAL reaches. The received position alone
// may be behind the replayed one after a restart.
func (s Standing) Position() appliance.LSN { return max(s.Received, s.Replayed) }

// final tells whether the member's position can't move any more.
func (s Standing) final() bool { return s.Detached && s.Settled }

// Choice is the outcome of an election: a member, or a refusal.
type Choice struct {
	Member  string
	LSN     appliance.LSN
	Refusal *appliance.ElectionRefusal
}

// Elect chooses whom to promote: of the members that belong to the recorded
// cluster the one with the highest timeline that descends from the recorded
// one, then the furthest position, then the least left to replay. The choice
// holds every acknowledged commit if a quorum is promised; else it may lag
// behind the last known position by lag. A member that takes writes beside the
// recorded primary rules out any choice. Positions that can still move prove
// nothing, so an election after a fence passes only standings that are final.
func Elect(k Known, standings []Standing, c appliance.PrimaryChange, lag appliance.LSN) Choice {
	return election{known: k, change: c, lag: lag}.hold(standings)
}

// election holds what an election depends on besides the standings.
type election struct {
	known  Known
	change appliance.PrimaryChange
	lag    appliance.LSN
	// slack is how far a candidate may be behind the furthest member: 0 for
	// positions that are final. Positions that move are not read at one moment.
	slack appliance.LSN
	// exact is set if two positions that are final are compared without slack.
	exact bool
}

func (e election) hold(standings []Standing) Choice {
	standings = slices.DeleteFunc(slices.Clone(standings), func(s Standing) bool { return s.Member == e.known.Primary || !s.Answered })
	unfit := map[string]string{}
	var fit []Standing
	for _, s := range standings {
		if why := foreign(e.known, s); why != "" {
			unfit[s.Member] = why
			continue
		}
		fit = append(fit, s)
	}
	// WAL counts even where its member can't be promoted.
	var complete []string
	for _, s := range fit {
		if s.Position() >= start(e.known.Line) {
			complete = append(complete, s.Member)
		}
	}
	refuse := func(r appliance.ErrorID, behind appliance.LSN) Choice {
		return Choice{Refusal: &appliance.ElectionRefusal{Reason: r, Missing: missing(e.known, complete), Unfit: unfit, Behind: behind}}
	}
	best := furthest(fit)
	if best == nil || slices.ContainsFunc(standings, func(s Standing) bool { return s.Primary && s.Identifier == e.known.Identifier }) {
		return refuse(appliance.ErrNoCandidate, 0)
	}
	if !e.change.AllowDataLoss {
		if !e.known.Promise.None() && !Survives(e.known.Promise, complete) {
			return refuse(appliance.ErrQuorumLost, 0)
		}
		if i := slices.IndexFunc(fit, func(s Standing) bool { return !begins(s, best.Line) }); i >= 0 {
			unfit[best.Member] = "lacks commits that " + fit[i].Member + " has, on an older timeline"
			return refuse(appliance.ErrNoCandidate, 0)
		}
	}
	chosen := furthest(e.candidates(fit, *best, unfit))
	if chosen == nil {
		return refuse(appliance.ErrNoCandidate, 0)
	}
	if behind := behindOf(e.known, *chosen); e.known.Promise.None() && behind > e.lag && !e.change.AllowDataLoss {
		return refuse(appliance.ErrNoCandidate, behind)
	}
	return Choice{Member: chosen.Member, LSN: chosen.Position()}
}

// candidates are the fit members that may be promoted. The others' reasons are
// added to unfit.
func (e election) candidates(fit []Standing, best Standing, unfit map[string]string) []Standing {
	return slices.DeleteFunc(slices.Clone(fit), func(s Standing) bool {
		why := s.Unfit
		switch {
		case slices.Contains(e.change.Tried, s.Member):
			why = "was tried before"
		case e.change.Wanted != "" && s.Member != e.change.Wanted:
			why = "is not the one that was asked for"
		case why == "" && !e.change.AllowDataLoss && e.before(s, best):
			why = "lacks commits that " + best.Member + " has"
		}
		if why != "" {
			unfit[s.Member] = why
		}
		return why != ""
	})
}

// before tells whether a's WAL is short of b's by more than the slack.
func (e election) before(a, b Standing) bool {
	slack := e.slack
	if e.exact && a.final() && b.final() {
		slack = 0
	}
	return a.Line.Timeline < b.Line.Timeline && slack == 0 || a.Position() < b.Position() && b.Position()-a.Position() > slack
}

// foreign says why the member is no part of the recorded cluster's history, or
// nothing.
func foreign(k Known, s Standing) string {
	switch {
	case s.Identifier != k.Identifier:
		return "belongs to another cluster: its system identifier is " + s.Identifier
	case s.Primary:
		return UnfitWrites
	case s.Return != "":
		return "has to be brought back first"
	case !s.Line.DescendsFrom(k.Line) && !begins(s, k.Line):
		return fmt.Sprintf("has WAL of timeline %d that the recorded timeline %d does not have", s.Line.Timeline, k.Line.Timeline)
	default:
		return ""
	}
}

// start is where a timeline began: a member that has not reached it may lack
// commits of the timelines before.
func start(l appliance.Line) appliance.LSN {
	if n := len(l.Ancestors); n > 0 {
		return l.Ancestors[n-1].At
	}
	return 0
}

// begins tells whether the member's WAL is the beginning of the line's: the
// member is on the line or on an ancestor, and did not go on where the line left.
func begins(s Standing, l appliance.Line) bool {
	if !l.DescendsFrom(s.Line) {
		return false
	}
	n := len(s.Line.Ancestors)
	return n == len(l.Ancestors) || s.Position() <= l.Ancestors[n].At
}

// followers are the members that the look proves to have the beginning of the chosen
// one's WAL, and nothing else. A position that is not final proves nothing, except in a
// switchover: its candidate has all that the old primary wrote, and nobody has more.
func followers(kind appliance.OperationKind, c Choice, all []Standing) []string {
	i := slices.IndexFunc(all, func(s Standing) bool { return s.Member == c.Member })
	if i < 0 {
		return nil
	}
	var out []string
	for _, s := range all {
		proven := s.Answered && (s.final() || kind == appliance.OpSwitchover)
		if s.Member != c.Member && proven && s.Identifier == all[i].Identifier && s.Position() <= c.LSN && begins(s, all[i].Line) {
			out = append(out, s.Member)
		}
	}
	return out
}

// behindOf is how much of the primary's known WAL the member lacks.
func behindOf(k Known, s Standing) appliance.LSN {
	seen := max(k.Seen, start(k.Line))
	if s.Line.Timeline > k.Line.Timeline || s.Position() >= seen {
		return 0
	}
	return seen - s.Position()
}

func furthest(all []Standing) *Standing {
	if len(all) == 0 {
		return nil
	}
	best := slices.MaxFunc(all, func(a, b Standing) int {
		return cmp.Or(
			cmp.Compare(a.Line.Timeline, b.Line.Timeline),
			cmp.Compare(a.Position(), b.Position()),
			cmp.Compare(a.Replayed, b.Replayed),
			cmp.Compare(b.Member, a.Member), // the lower name wins
		)
	})
	return &best
}

// missing are the members of the promise that can't be counted on.
func missing(k Known, complete []string) []string {
	var out []string
	for _, m := range k.Promise.Set {
		if !slices.Contains(complete, m) {
			out = append(out, m)
		}
	}
	return out
}
