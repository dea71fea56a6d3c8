package observe

import (
	"errors"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// ErrNotAsked is why a fact isn't known that the look had no reason to ask for.
var ErrNotAsked = errors.New("not asked")

// Fact is the answer to one question of a look: known, or not known and why. So
// what a look could not tell is not taken for what is not so. The zero value was
// not asked.
type Fact[T any] struct {
	value T
	known bool
	err   error
}

// Known is an answer.
func Known[T any](value T) Fact[T] { return Fact[T]{value: value, known: true} }

// Unknown is a question that failed with err.
func Unknown[T any](err error) Fact[T] { return Fact[T]{err: err} }

// answer is what a question returned.
func answer[T any](value T, err error) Fact[T] {
	if err != nil {
		return Unknown[T](err)
	}
	return Known(value)
}

// Known tells whether there is an answer.
func (f Fact[T]) Known() bool { return f.known }

// Value is the answer, the zero value where it isn't known.
func (f Fact[T]) Value() T { return f.value }

// Why is the reason why the answer isn't known, nil where it is.
func (f Fact[T]) Why() error {
	switch {
	case f.known:
		return nil
	case f.err != nil:
		return f.err
	}
	return ErrNotAsked
}

// Look is what one look at a member brought.
type Look struct {
	Member appliance.Member
	// Primary is set for the member that the record calls primary.
	Primary bool
	// Power is what the machine's host says of the machine. It isn't asked where
	// the member has no machine of its own.
	Power Fact[appliance.Power]
	// Process tells whether the machine has a server process of the member.
	Process Fact[bool]
	// Server is what the server says of itself in a session.
	Server Fact[postgres.Observation]
	// Walsenders are those of the primary, in the order of their names.
	Walsenders Fact[[]appliance.ReplicationRow]
	// Tablespaces are a primary's directories that its standbys would share.
	Tablespaces Fact[[]string]
	// Missing are the tablespaces' directories that an ended standby lacked.
	Missing Fact[[]string]
	// DataDir is what is on the machine's disk.
	DataDir Fact[postgres.DataDir]
	// Ancestors are the timelines that the member's own descends from.
	Ancestors Fact[[]postgres.Ancestor]
}

// Timeline is the highest that is known of the member, 0 where none is.
func (l Look) Timeline() uint32 {
	return max(l.Server.Value().Timeline, l.DataDir.Value().Timeline)
}

// TakesWrites tells whether the server is no standby, or wouldn't be one if it
// were started.
func (l Look) TakesWrites() bool {
	if l.Server.Known() {
		return !l.Server.Value().InRecovery
	}
	d := l.DataDir.Value()
	return d.Initialised && !d.InRecovery
}

// Ahead tells whether the standby holds WAL that its primary has lost, as after
// the primary's disk was put back. The primary has to be looked at later.
func Ahead(standby, primary Look) bool {
	s, p := standby.Server.Value(), primary.Server.Value()
	return standby.Server.Known() && primary.Server.Known() && s.InRecovery && !p.InRecovery && postgres.LSNAfter(s.LSN, p.LSN)
}
