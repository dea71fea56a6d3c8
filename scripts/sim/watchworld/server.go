package watchworld

import (
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// ailment is what keeps a server that runs from its work.
type ailment string

const (
	well ailment = ""
	// frozen gets no processor at all.
	frozen ailment = "frozen"
	// stopped: its first process is stopped, and sessions go on.
	stopped ailment = "stopped"
	// debugged: a debugger holds the first process.
	debugged ailment = "debugged"
	// unwritable: the machine is paused, since its disk can't be written.
	unwritable ailment = "unwritable"
	// closed: it takes no new connections, and sessions go on.
	closed ailment = "closed"
	// crowded: it has too many clients.
	crowded ailment = "crowded"
	// mistaken and ghost are well, though the machine says that they are halted or gone.
	mistaken ailment = "mistaken"
	ghost    ailment = "ghost"
)

// server is a server of PostgreSQL and its machine.
type server struct {
	name string
	wal  wal
	running,
	// production is what the control file says; signal is standby.signal.
	production, signal,
	// clean is set where the server was shut down.
	clean,
	promoting bool
	upstream string
	// setting is synchronous_standby_names in force.
	setting appliance.Promise
	ails    ailment
	// cut is set while pgapp can't reach the server, apart while other servers can't.
	cut, apart bool
	// mute is set while the machine says nothing of the server.
	mute bool
	// byHand is set where a person started or promoted the server.
	byHand bool
	// starting is when it will have recovered.
	starting time.Duration
	// streams is set while a receiver runs, and heard is its last message.
	streams bool
	heard   time.Duration
	// unable is set while the server can't be started, stalled while no write gets to its
	// disk.
	unable, stalled bool
	// behind is set while the standby is connected and catches up.
	behind bool
	// lost is set where the primary no longer has WAL that the standby needs, and faulty where its
	// files keep it from streaming, whatever starts it.
	lost, faulty bool
	// cloned is when the copy of the primary that is being made will be complete, 0 if none is.
	cloned time.Duration
	// spoilt counts its copies that came to nothing, see [World.scant].
	spoilt int
}

// inStep tells whether the primary calls the standby streaming.
func (m *server) inStep() bool { return m.streams && !m.behind }

func (m *server) frozen() bool { return m.ails == frozen || m.ails == unwritable }

func (m *server) up(now time.Duration) bool { return m.running && now >= m.starting && !m.frozen() }

// writes tells whether the server takes writes, or would if it got a processor.
func (m *server) writes() bool { return m.running && m.production && !m.signal }

// reacts tells whether pgapp gets an answer in a session.
func (m *server) reacts(now time.Duration) bool { return m.up(now) && !m.cut }

// kill ends the server, as its end by the machine does.
func (m *server) kill() {
	m.running, m.promoting, m.clean, m.streams, m.ails = false, false, false, false, well
}

// start starts the server as its own files say.
func (m *server) start(now time.Duration, takes time.Duration) {
	m.running, m.clean, m.ails = true, false, well
	m.starting = now + takes
	if m.signal {
		m.production, m.byHand = false, false
	} else {
		m.production, m.upstream = true, ""
	}
}

// becomePrimary ends the recovery on a timeline of its own.
func (m *server) becomePrimary() {
	m.wal = m.wal.promoted()
	m.production, m.signal, m.promoting, m.upstream, m.streams = true, false, false, "", false
}

const (
	// receiverTimeout is wal_receiver_timeout.
	receiverTimeout = 10 * time.Second
	// far is how many records a standby may be behind when it connects and be streaming
	// at once, keeps how many the primary keeps for one that is away.
	far   = 12
	keeps = 150
)

// recycle removes WAL that standbys which are away may need.
func (w *World) recycle() {
	p := w.server(w.genuine().Primary)
	if !p.writes() || p.byHand {
		return
	}
	for _, m := range w.servers {
		if m != p && (!m.streams || m.upstream != p.name) && p.wal.end-m.wal.shared(p.wal) > keeps {
			m.lost = true
		}
	}
}

// receive streams for a moment. It tells whether a foreign fork went unnoticed.
func (w *World) receive(m *server) (unnoticed bool) {
	up := w.server(m.upstream)
	if m.promoting || m.upstream == "" || !m.signal || !up.running {
		m.streams = false
		return false
	}
	reached := up.up(w.now) && !up.apart && !m.apart
	switch {
	case m.streams && !reached:
		m.streams = w.now-m.heard < receiverTimeout
		return false
	case !reached || !m.streams && (up.ails == closed || up.ails == stopped || up.ails == debugged || up.ails == crowded) || !m.wal.streams(up.wal):
		m.streams = false
		return false
	case m.lost || m.faulty:
		m.streams = false
		return false
	}
	if !m.streams {
		m.streams, m.heard = true, w.now
		m.behind = up.wal.end-m.wal.end > far
	}
	if m.wal.shared(up.wal) < m.wal.end {
		return true
	}
	more := 1 + w.rng.IntN(4)
	if m.behind {
		more *= 4
	}
	if m.stalled {
		more = 0
	}
	m.behind = m.behind && up.wal.end-m.wal.end > more
	if m.wal.end < up.wal.end {
		m.wal = up.wal.upTo(m.wal.end + more)
		m.heard = w.now
	}
	if w.now-m.heard >= receiverTimeout/2 {
		m.heard = w.now
	}
	return false
}

// standing is what a session says of the server.
func (m *server) standing(back appliance.WayBack) ha.Standing {
	return ha.Standing{
		Member: m.name, Return: back, Primary: m.writes(), Identifier: "1", Line: m.wal.fork.line,
		Received: m.wal.lsn(), Replayed: m.wal.lsn(), Detached: !m.streams,
	}
}

// killed tells whether the watching process dies here.
func (w *World) killed(n int) bool {
	if !w.chance(n) {
		return false
	}
	w.die(time.Duration(1+w.rng.IntN(20)) * step)
	return true
}

// die kills the watching process and starts another one later.
func (w *World) die(d time.Duration) {
	w.say("the daemon dies for %s", d)
	w.watcher = watcher{until: w.now + d, next: w.now + d}
	w.home.unread = true
	w.judge.restart()
	if w.op != nil {
		w.op.seen, w.op.phase, w.op.mine = nil, "", false
	}
}
