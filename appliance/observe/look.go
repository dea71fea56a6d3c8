package observe

import (
	"errors"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// ErrNotAsked is the reason for a fact that the look did not ask for.
var ErrNotAsked = errors.New("not asked")

// Fact is the answer to one question of a look: a known value, or the reason why
// the value is unknown. So an unanswered question can't be mistaken for a negative
// answer. The zero value is a question that was not asked.
type Fact[T any] struct {
	value T
	known bool
	err   error
}

// Known returns the fact for an answered question.
func Known[T any](value T) Fact[T] { return Fact[T]{value: value, known: true} }

// Unknown returns the fact for a question that failed with err.
func Unknown[T any](err error) Fact[T] { return Fact[T]{err: err} }

// answer returns the fact for a question's result.
func answer[T any](value T, err error) Fact[T] {
	if err != nil {
		return Unknown[T](err)
	}
	return Known(value)
}

// Known tells whether the value is known.
func (f Fact[T]) Known() bool { return f.known }

// Value returns the value, the zero value if it is unknown.
func (f Fact[T]) Value() T { return f.value }

// Why returns the reason why the value is unknown, nil if it is known.
func (f Fact[T]) Why() error {
	switch {
	case f.known:
		return nil
	case f.err != nil:
		return f.err
	}
	return ErrNotAsked
}

// Look is the result of one look at a member.
type Look struct {
	Member appliance.Member
	// Primary is set for the member that the record calls primary.
	Primary bool
	// Power is the machine's power as its host reports it. It is not asked for a
	// member without a machine of its own.
	Power Fact[appliance.Power]
	// Process tells whether the machine has a server process of the member.
	Process Fact[bool]
	// Server is what the server reports in a session.
	Server Fact[postgres.Observation]
	// Walsenders are the primary's, ordered by application name.
	Walsenders Fact[[]appliance.ReplicationRow]
	// Tablespaces are the primary's, if its standbys would share their directories.
	Tablespaces Fact[[]string]
	// Missing are the tablespace directories whose absence ended a standby.
	Missing Fact[[]string]
	// DataDir describes the data directory on the machine's disk.
	DataDir Fact[postgres.DataDir]
	// Ancestors are the timelines that the member's timeline descends from.
	Ancestors Fact[[]postgres.Ancestor]
	// Epoch is the newest epoch that the member's data know.
	Epoch Fact[uint64]
}

// Line returns the member's timeline with the ancestors that are known of it.
func (l Look) Line() appliance.Line {
	line := appliance.Line{Timeline: l.Timeline()}
	for _, a := range l.Ancestors.Value() {
		at, err := appliance.ParseLSN(a.End)
		if err != nil {
			return appliance.Line{Timeline: line.Timeline}
		}
		line.Ancestors = append(line.Ancestors, appliance.Switch{Timeline: a.Timeline, At: at})
	}
	return line
}

// Timeline returns the member's highest known timeline, 0 if none is known.
func (l Look) Timeline() uint32 {
	return max(l.Server.Value().Timeline, l.DataDir.Value().Timeline)
}

// TakesWrites tells whether the server accepts writes, or would do so after a start.
func (l Look) TakesWrites() bool {
	if l.Server.Known() {
		return !l.Server.Value().InRecovery
	}
	d := l.DataDir.Value()
	return d.Initialised && !d.InRecovery
}

// Ahead tells whether the standby has WAL that its primary has lost, as after the
// primary's disk was restored to an earlier state. The look at the primary must be
// the later one.
func Ahead(standby, primary Look) bool {
	s, p := standby.Server.Value(), primary.Server.Value()
	return standby.Server.Known() && primary.Server.Known() && s.InRecovery && !p.InRecovery && postgres.LSNAfter(s.LSN, p.LSN)
}
