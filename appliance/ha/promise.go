package ha

import (
	"slices"

	"pgapp/appliance"
)

// Over returns the promise over the members: of one of them for up to two, of
// two for more. One of two, since with two of two each stop of a standby would
// block all writes.
func Over(members ...string) appliance.Promise {
	if len(members) == 0 {
		return appliance.Promise{}
	}
	set := slices.Clone(members)
	slices.Sort(set)
	set = slices.Compact(set)
	if len(set) <= 2 {
		return appliance.Promise{Set: set, K: 1}
	}
	return appliance.Promise{Set: set, K: 2}
}

// Implies tells whether each commit that fulfils p fulfils q too: of the K
// members that flushed it, at most those outside of q's set don't count.
func Implies(p, q appliance.Promise) bool {
	outside := 0
	for _, m := range p.Set {
		if !q.Has(m) {
			outside++
		}
	}
	return max(p.K-outside, 0) >= q.K
}

// Common returns a promise that both p and q imply: the weaker one if there is one,
// else the smaller K over all their members.
func Common(p, q appliance.Promise) appliance.Promise {
	k := min(p.K, q.K)
	switch {
	case k == 0:
		return appliance.Promise{}
	case Implies(p, q):
		return q
	case Implies(q, p):
		return p
	}
	set := slices.Concat(p.Set, q.Set)
	slices.Sort(set)
	return appliance.Promise{Set: slices.Compact(set), K: k}
}

// Survives tells whether a member with every acknowledged commit is among
// those that can be asked: of any K members of the set at least one is, which
// is so where the reachable and the K can't be disjoint.
func Survives(p appliance.Promise, reachable []string) bool {
	if p.None() {
		return false
	}
	r := 0
	for _, m := range p.Set {
		if slices.Contains(reachable, m) {
			r++
		}
	}
	return r+p.K > len(p.Set)
}

// Move is one step from a promise to another.
type Move struct {
	// Store is what the record says next.
	Store *appliance.Promise
	// Set is what the primary's setting becomes next.
	Set *appliance.Promise
	// Await asks for K members of this set to have flushed the position that
	// the primary had once its setting was in force.
	Await *appliance.Promise
}

// Moves returns the next step from what is stored and in force towards what is
// wanted. The stored promise holds for every acknowledged commit at each
// moment, so it is weakened before PostgreSQL's setting and strengthened after
// the wanted set has flushed all that older settings acknowledged. A killed
// caller asks again and gets the step that is still to be made.
func Moves(stored, inForce, want appliance.Promise, flushed bool) Move {
	switch {
	case !Implies(inForce, stored):
		// Somebody changed the setting: the record must not say more than it.
		next := Common(stored, inForce)
		return Move{Store: &next}
	case inForce.Equal(want) && stored.Equal(want):
		return Move{}
	case inForce.Equal(want) && (flushed || Implies(stored, want)):
		return Move{Store: &want}
	case inForce.Equal(want):
		return Move{Await: &want}
	case Implies(want, stored):
		return Move{Set: &want}
	default:
		next := Common(stored, want)
		return Move{Store: &next}
	}
}

// Without is the promise over the same members but one, with no larger K than a
// promise over those has.
func Without(p appliance.Promise, member string) appliance.Promise {
	if !p.Has(member) {
		return p
	}
	set := slices.DeleteFunc(slices.Clone(p.Set), func(m string) bool { return m == member })
	if len(set) == 0 {
		return appliance.Promise{}
	}
	return appliance.Promise{Set: set, K: min(p.K, Over(set...).K)}
}
