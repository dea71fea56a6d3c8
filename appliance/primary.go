package appliance

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// LSN is a position in PostgreSQL's WAL.
type LSN uint64

// String returns the position as PostgreSQL prints it.
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint64(l)>>32, uint32(l)) } //nolint:gosec // the low half

// ParseLSN reads a position as PostgreSQL prints it. An empty text is position 0.
func ParseLSN(s string) (LSN, error) {
	if s == "" {
		return 0, nil
	}
	before, after, ok := strings.Cut(s, "/")
	high, err := strconv.ParseUint(before, 16, 32)
	low, err2 := strconv.ParseUint(after, 16, 32)
	if !ok || err != nil || err2 != nil {
		return 0, fmt.Errorf("%q is not a position in the WAL", s)
	}
	return LSN(high)<<32 | LSN(low), nil
}

// MarshalText writes the position as PostgreSQL prints it.
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what [LSN.MarshalText] writes.
func (l *LSN) UnmarshalText(text []byte) (err error) {
	*l, err = ParseLSN(string(text))
	return err
}

// Switch is the end of a timeline: a promotion began the next one there.
type Switch struct {
	Timeline uint32 `json:"timeline" yaml:"timeline"`
	At       LSN    `json:"at" yaml:"at"`
}

// Line is a timeline and the ends of its ancestors, oldest first, as PostgreSQL's
// history files list them.
type Line struct {
	Timeline  uint32   `json:"timeline"`
	Ancestors []Switch `json:"ancestors,omitempty"`
}

// DescendsFrom tells whether l is the line o or a later one of it. Equal numbers are
// not enough, since two promotions may have taken the same number.
func (l Line) DescendsFrom(o Line) bool {
	n := len(o.Ancestors)
	if len(l.Ancestors) < n || !slices.Equal(l.Ancestors[:n], o.Ancestors) {
		return false
	}
	if len(l.Ancestors) == n {
		return l.Timeline == o.Timeline
	}
	return l.Ancestors[n].Timeline == o.Timeline
}

// Durability says when a commit is acknowledged.
type Durability string

// The durabilities.
const (
	// DurabilityAsync acknowledges a commit that the primary has flushed.
	DurabilityAsync Durability = "async"
	// DurabilityQuorum acknowledges a commit that some standbys have flushed too.
	DurabilityQuorum Durability = "quorum"
)

// Promise says what holds for every acknowledged commit: besides the primary, at
// least K of the members in Set have flushed it. The zero value promises nothing, as
// under asynchronous replication.
type Promise struct {
	// Set holds members' names, in order and each once.
	Set []string `json:"set,omitempty" yaml:"set,omitempty"`
	K   int      `json:"k,omitempty" yaml:"k,omitempty"`
}

// None tells whether nothing is promised.
func (p Promise) None() bool { return p.K == 0 }

// Has tells whether the member is in the promise's set.
func (p Promise) Has(member string) bool { return slices.Contains(p.Set, member) }

// Equal tells whether two promises say the same.
func (p Promise) Equal(q Promise) bool {
	return p.K == q.K && (p.K == 0 || slices.Equal(p.Set, q.Set))
}

// Setting is the promise as PostgreSQL's synchronous_standby_names: names are
// quoted, since a name with a hyphen would make PostgreSQL drop the whole
// setting (documentation, section 19.6.2).
func (p Promise) Setting() string {
	if p.None() {
		return ""
	}
	names := make([]string, len(p.Set))
	for i, m := range p.Set {
		names[i] = `"` + strings.ReplaceAll(m, `"`, `""`) + `"`
	}
	return "ANY " + strconv.Itoa(p.K) + " (" + strings.Join(names, ", ") + ")"
}

// ReasonAdopted is the reason of a promotion that an adoption recorded.
const ReasonAdopted = "adopted"

// String describes the promise for people.
func (p Promise) String() string {
	if p.None() {
		return "nothing"
	}
	return "any " + strconv.Itoa(p.K) + " of " + strings.Join(p.Set, ", ")
}

// Promotion is a promotion that pgapp made or adopted.
type Promotion struct {
	Epoch    uint64    `json:"epoch" yaml:"epoch"`
	Member   string    `json:"member" yaml:"member"`
	Timeline uint32    `json:"timeline" yaml:"timeline"`
	Switch   LSN       `json:"switch_lsn" yaml:"switch_lsn"`
	At       time.Time `json:"at" yaml:"at"`
	Reason   string    `json:"reason" yaml:"reason"`
	// Evidence is what made pgapp begin the change of primary by itself; empty for a
	// user's.
	Evidence string `json:"evidence,omitempty" yaml:"evidence,omitempty"`
}

// ChangePhase is the progress of a change of primary. Phases go one way, but for a
// candidate that has to be given up.
type ChangePhase string

// The phases of a change of primary.
const (
	// ChangeLooking: nothing has been changed yet.
	ChangeLooking ChangePhase = "looking"
	// ChangeStopping: the old primary is being stopped cleanly.
	ChangeStopping ChangePhase = "stopping"
	// ChangeFencing: the old primary is being killed, and the standbys detached.
	ChangeFencing ChangePhase = "fencing"
	// ChangeElecting: the old primary has provably ended.
	ChangeElecting ChangePhase = "electing"
	// ChangePromoting: the candidate is on record, the point of no return.
	ChangePromoting ChangePhase = "promoting"
	// ChangeRetracting: the candidate was not promoted in time and is being killed
	// before another is tried.
	ChangeRetracting ChangePhase = "retracting"
	// ChangeReturning: the old primary is being started again.
	ChangeReturning ChangePhase = "returning"
	// ChangeDone, ChangeCancelled and ChangeRefused are final.
	ChangeDone      ChangePhase = "done"
	ChangeCancelled ChangePhase = "cancelled"
	ChangeRefused   ChangePhase = "refused"
)

// Final tells whether the change has ended.
func (p ChangePhase) Final() bool {
	return p == ChangeDone || p == ChangeCancelled || p == ChangeRefused
}

// Committed tells whether the candidate is on record: the change can't be cancelled
// any more.
func (p ChangePhase) Committed() bool {
	return p == ChangePromoting || p == ChangeRetracting || p == ChangeDone
}

// PrimaryChange is a change of primary under way, as the record keeps it.
type PrimaryChange struct {
	// Operation is the id of the operation that makes the change.
	Operation string `json:"operation" yaml:"operation"`
	// Kind is OpSwitchover or OpFailover. A switchover whose candidate has to be
	// given up goes on as a failover.
	Kind  OperationKind `json:"kind" yaml:"kind"`
	From  string        `json:"from" yaml:"from"`
	Phase ChangePhase   `json:"phase" yaml:"phase"`
	// Wanted is the only member that may be promoted, if set.
	Wanted string `json:"wanted,omitempty" yaml:"wanted,omitempty"`
	// AllowDataLoss lets a candidate pass that may lack acknowledged commits.
	AllowDataLoss bool `json:"allow_data_loss,omitempty" yaml:"allow_data_loss,omitempty"`
	// Seen is the last flushed position of the old primary that was seen, 0 if none.
	Seen LSN `json:"seen,omitempty" yaml:"seen,omitempty"`
	// To is the candidate, from phase promoting on; LSN is the position that the
	// candidate had at least, and Epoch the epoch that its promotion begins.
	To    string `json:"to,omitempty" yaml:"to,omitempty"`
	LSN   LSN    `json:"lsn,omitempty" yaml:"lsn,omitempty"`
	Epoch uint64 `json:"epoch,omitempty" yaml:"epoch,omitempty"`
	// Followers are the members whose WAL was the beginning of the candidate's when it got
	// on record. Only they are pointed to the candidate while it is promoted: afterwards a
	// timeline of the same number may hide where another's WAL left the candidate's.
	Followers []string `json:"followers,omitempty" yaml:"followers,omitempty"`
	// Tried are the candidates that were given up.
	Tried []string `json:"tried,omitempty" yaml:"tried,omitempty"`
	// Why is the reason for promoting nobody.
	Why *ElectionRefusal `json:"why,omitempty" yaml:"why,omitempty"`
}

// OneWay tells whether the change can't go back any more: it has a candidate on record,
// or had one that was given up.
func (c PrimaryChange) OneWay() bool { return c.Phase.Committed() || len(c.Tried) > 0 }

// ElectionRefusal says why nobody may be promoted.
type ElectionRefusal struct {
	// Reason is ErrQuorumLost or ErrNoCandidate.
	Reason ErrorID `json:"reason" yaml:"reason"`
	// Missing are the members of the promise that gave no answer.
	Missing []string `json:"missing,omitempty" yaml:"missing,omitempty"`
	// Unfit says by name why a member that answered is no candidate.
	Unfit map[string]string `json:"unfit,omitempty" yaml:"unfit,omitempty"`
	// Behind is the distance in bytes of the best candidate from the last position
	// known of the primary, if that is the reason.
	Behind LSN `json:"behind,omitempty" yaml:"behind,omitempty"`
}

// WayBack is how a member returns as a standby of the recorded primary. A member
// with a way on record is not started before it has returned.
type WayBack string

// The ways back. The empty one is of members that may be started.
const (
	// WayLook: the way has to be chosen by a look at the member's data directory.
	WayLook WayBack = "look"
	// WayFollow: the member's WAL is the beginning of the primary's.
	WayFollow WayBack = "follow"
	// WayRewind: the member has WAL that the primary doesn't have.
	WayRewind WayBack = "rewind"
	// WayClone: neither streaming nor pg_rewind would notice where the member's WAL
	// left the primary's, since timelines of one number hide it; or a rewind failed.
	WayClone WayBack = "clone"
)

// Discarded is what a member's WAL held beyond the primary's, and a rewind or a clone
// dropped.
type Discarded struct {
	Member  string     `json:"member" yaml:"member"`
	Bytes   int64      `json:"bytes" yaml:"bytes"`
	Commits int        `json:"commits" yaml:"commits"`
	First   *time.Time `json:"first,omitempty" yaml:"first,omitempty"`
	Last    *time.Time `json:"last,omitempty" yaml:"last,omitempty"`
	// Unknown says why the WAL could not be counted; the numbers are then 0.
	Unknown string `json:"unknown,omitempty" yaml:"unknown,omitempty"`
}
