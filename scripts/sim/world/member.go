package world

import (
	"slices"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// member is a server of PostgreSQL: its WAL is a list of records, each with a number
// of its own in the whole world, so that a fork is one wherever the numbers differ.
type member struct {
	name string
	wal  []int
	line appliance.Line
	// replayed is the part of the WAL that is replayed; blocked stops the replay. received
	// is what a receiver has brought since the server's start, 0 if nothing: the WAL may
	// reach further.
	replayed int
	received int
	blocked  bool
	running  bool
	// production is what the control file says; signal is standby.signal.
	production, signal bool
	// clean is set where the server was stopped cleanly.
	clean    bool
	upstream string
	// promoting is set once pg_promote was called.
	promoting bool
	// setting is synchronous_standby_names in force.
	setting appliance.Promise
	// byHand is set where a person started or promoted the server.
	byHand bool
	// cut is set while pgapp can't reach the member.
	cut bool
	// stuck is set while nothing ends the server: its processes wait for a disk.
	stuck bool
	// away is for how long a person keeps the standby stopped.
	away int
}

func (m *member) end() appliance.LSN { return appliance.LSN(len(m.wal)) }

func (m *member) writes() bool { return m.running && m.production && !m.signal }

func (m *member) kill() {
	if !m.stuck {
		m.running, m.promoting, m.clean = false, false, false
	}
}

// start starts the server as its own files say.
func (m *member) start() {
	m.running, m.clean = true, false
	m.received, m.replayed = 0, len(m.wal)*2/3
	if m.signal {
		m.production = false
	} else {
		m.production, m.upstream, m.replayed = true, "", len(m.wal)
	}
}

// waits tells whether the standby has replayed all of its WAL.
func (m *member) waits() bool { return m.replayed == len(m.wal) }

// becomePrimary ends the recovery on a timeline of its own.
func (m *member) becomePrimary(record int) {
	m.line = appliance.Line{
		Timeline:  m.line.Timeline + 1,
		Ancestors: append(slices.Clone(m.line.Ancestors), appliance.Switch{Timeline: m.line.Timeline, At: m.end()}),
	}
	m.wal = append(slices.Clone(m.wal), record)
	m.replayed = len(m.wal)
	m.production, m.signal, m.promoting, m.upstream = true, false, false, ""
}

// shared is the length of the WAL that both have, truly.
func shared(a, b []int) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// receive streams from up, as PostgreSQL does: histories are compared, records are
// not. It tells whether a foreign fork went unnoticed.
func (m *member) receive(up *member, most int) (unnoticed bool) {
	s := ha.Standing{Line: m.line, Received: m.end()}
	if !follows(s, up.line) || m.end() > up.end() || m.received == 0 && !m.waits() {
		return false
	}
	if shared(m.wal, up.wal) < len(m.wal) {
		return true
	}
	if more := up.wal[len(m.wal):min(len(m.wal)+most, len(up.wal))]; len(more) > 0 {
		m.wal = append(slices.Clone(m.wal), more...)
		m.received = len(m.wal)
	}
	if n := len(up.line.Ancestors); n == 0 || m.end() > up.line.Ancestors[n-1].At {
		m.line = up.line
	}
	return false
}

// follows tells whether the histories allow the standby to stream. It is the world's
// own rule, independent of package ha.
func follows(s ha.Standing, l appliance.Line) bool {
	if s.Line.Timeline == l.Timeline {
		return slices.Equal(s.Line.Ancestors, l.Ancestors)
	}
	for i, a := range l.Ancestors {
		if a.Timeline == s.Line.Timeline {
			return slices.Equal(s.Line.Ancestors, l.Ancestors[:i]) && s.Received <= a.At
		}
	}
	return false
}
