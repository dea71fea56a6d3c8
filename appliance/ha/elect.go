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
	// Seen is the last flushed position that a look at the primary found.
	Seen appliance.LSN
}

// Standing is what a look at a standby found.
type Standing struct {
	Member string
	// Answered is set where the look got an answer; without it the other
	// fields say nothing.
	Answered bool
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
// behind the last known position by lag. Positions that can still move prove
// nothing, so an election after a fence passes only standings that are
// detached and settled; a rehearsal before it passes those that stream.
func Elect(k Known, standings []Standing, c appliance.PrimaryChange, lag appliance.LSN) Choice {
	unfit := map[string]string{}
	var reachable []string
	var fit []Standing
	for _, s := range standings {
		if s.Member == k.Primary {
			continue
		}
		if !s.Answered {
			continue
		}
		if why := foreign(k, s); why != "" {
			unfit[s.Member] = why
			continue
		}
		// Its WAL counts even where the member can't be promoted.
		reachable = append(reachable, s.Member)
		fit = append(fit, s)
	}
	best := furthest(fit)
	refuse := func(r appliance.ErrorID, behind appliance.LSN) Choice {
		return Choice{Refusal: &appliance.ElectionRefusal{Reason: r, Missing: missing(k, reachable), Unfit: unfit, Behind: behind}}
	}
	if best == nil {
		return refuse(appliance.ErrNoCandidate, 0)
	}
	if !c.AllowDataLoss {
		if !k.Promise.None() && !Survives(k.Promise, reachable) {
			return refuse(appliance.ErrQuorumLost, 0)
		}
		if behind := behindOf(k, *best); k.Promise.None() && behind > lag {
			return refuse(appliance.ErrNoCandidate, behind)
		}
	}
	candidates := slices.DeleteFunc(slices.Clone(fit), func(s Standing) bool {
		why := s.Unfit
		switch {
		case slices.Contains(c.Tried, s.Member):
			why = "was tried before"
		case c.Wanted != "" && s.Member != c.Wanted:
			why = "is not the one that was asked for"
		case why == "" && !c.AllowDataLoss && before(s, *best):
			why = "lacks commits that " + best.Member + " has"
		}
		if why != "" {
			unfit[s.Member] = why
		}
		return why != ""
	})
	chosen := furthest(candidates)
	if chosen == nil {
		return refuse(appliance.ErrNoCandidate, 0)
	}
	return Choice{Member: chosen.Member, LSN: chosen.Position()}
}

// foreign says why the member's WAL is not the recorded cluster's, or nothing.
func foreign(k Known, s Standing) string {
	switch {
	case s.Identifier != k.Identifier:
		return "belongs to another cluster: its system identifier is " + s.Identifier
	case s.Primary:
		return "accepts writes"
	case !s.Line.DescendsFrom(k.Line):
		return fmt.Sprintf("is on timeline %d, which does not descend from the recorded timeline %d", s.Line.Timeline, k.Line.Timeline)
	default:
		return ""
	}
}

func behindOf(k Known, s Standing) appliance.LSN {
	if s.Line.Timeline > k.Line.Timeline || s.Position() >= k.Seen {
		return 0
	}
	return k.Seen - s.Position()
}

// before tells whether a's WAL is short of b's.
func before(a, b Standing) bool {
	return cmp.Or(cmp.Compare(a.Line.Timeline, b.Line.Timeline), cmp.Compare(a.Position(), b.Position())) < 0
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
func missing(k Known, reachable []string) []string {
	var out []string
	for _, m := range k.Promise.Set {
		if !slices.Contains(reachable, m) {
			out = append(out, m)
		}
	}
	return out
}
