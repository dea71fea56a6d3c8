package ha

import (
	"time"

	"pgapp/appliance"
)

// Answer is how a server met a question.
type Answer string

// The answers. The zero value is a question that was not asked.
const (
	// Answers: the server did what it was asked.
	Answers Answer = "answers"
	// Refuses: nobody listens at the address.
	Refuses Answer = "refuses"
	// Silent: no answer in time, or a session that broke.
	Silent Answer = "silent"
	// Starts: the server says that it starts, recovers or shuts down.
	Starts Answer = "starts"
	// Denies: the server lives and doesn't do what it was asked, as with too many
	// clients or a full disk.
	Denies Answer = "denies"
)

// Sighting is one look at one member.
type Sighting struct {
	Member string
	// Sign is the machine's word.
	Sign appliance.Sign
	// Clean is set where the server is gone and its directory says that it was shut
	// down.
	Clean bool
	// Full is set where the file system of its data directory, on this host, is full.
	Full bool
	// Missing is a directory that the primary's data directory, on this host, has lost,
	// where the server also refuses a new session. It is empty otherwise.
	Missing string
	// Write is how a write to the member's disk ended that waits for no other member. It
	// is Silent while the write waits and the server itself says that it is at it.
	Write Answer
	// Waits is the server's word on what the write waits for.
	Waits string
	// Fresh is the answer to a new connection, Session to a question in a kept one.
	Fresh, Session Answer
	// Standing is what the session said. Its Answered says whether it did.
	Standing Standing
	// Quiet is how long the standby's receiver has had no message of its upstream, less what
	// its settings allow beyond pgapp's own. It is [NoReceiver] where none runs.
	Quiet time.Duration
	// Streams are the standbys that stream, by the primary's word, and Connected those
	// that are connected to it, streaming or not.
	Streams, Connected []string
	// Lost are the standbys whose slot has lost WAL that they need, by the primary's word.
	Lost []string
	// InForce is what the server's setting promises, none where that is not known.
	InForce appliance.Promise
}

// NoReceiver is the silence that a standby without a receiver hears.
const NoReceiver time.Duration = 1<<63 - 1

// reacts tells whether anything of the member reacts.
func (s Sighting) reacts() bool {
	return s.Fresh == Answers || s.Fresh == Denies || s.Fresh == Starts || s.Session == Answers || s.Session == Denies
}

// Situation is what a decision depends on besides what was seen before.
type Situation struct {
	Known Known
	// Members are the looks at all members that shall run.
	Members []Sighting
	// Took is how long the looks took: what they found has been so since they began.
	Took time.Duration
	// Stalled is set where the looks themselves were held up: they prove nothing.
	Stalled bool
	// Held is why nothing may be done now, such as an operation that runs; empty if
	// something may.
	Held string
	// HeldReplace is why no primary may be replaced now, and HeldFence why none may be
	// ended and started again.
	HeldReplace, HeldFence string
	// Moves names the operation that moves the primary now, empty if none does. What it
	// does is known to be its own.
	Moves string
	// Quorum is set where commits shall wait for standbys.
	Quorum bool
	// Degrades is set where commits shall not wait if no standby streams.
	Degrades bool
	// Shared is set where a candidate can read the dead primary's directory.
	Shared bool
	// Failovers is their number in the last hour, Since the time since the last one.
	Failovers int
	Since     time.Duration
}

// Pace holds the times that a doubt has to last.
type Pace struct {
	// Silent is the primary's silence, Hung that of new connections alone.
	Silent, Hung time.Duration
	// Unheard is how long the standbys must have heard nothing from a silent primary.
	// A standby asks an idle primary for a message at half of wal_receiver_timeout
	// (walreceiver.c), which pgapp sets to 10 s.
	Unheard time.Duration
	// Left is how long a server that somebody shut down, or a standby that doesn't
	// stream, is left to whoever works on it.
	Left time.Duration
}

// LocalPace is for members that are processes of this host.
func LocalPace() Pace {
	return Pace{Silent: 3 * time.Second, Hung: 10 * time.Second, Unheard: 6 * time.Second, Left: 3 * time.Second}
}

// MachinePace is for members in virtual machines.
func MachinePace() Pace {
	return Pace{Silent: 6 * time.Second, Hung: 10 * time.Second, Unheard: 6 * time.Second, Left: 6 * time.Second}
}

// Deed is what is done about what was seen. Each is an operation.
type Deed string

// The deeds.
const (
	// Replace promotes a standby in the dead primary's place.
	Replace Deed = "replace"
	// Revive starts every member that should run, with the primary in its place, or one
	// standby that died, see [Act.Only]. It also ends a standby that takes writes.
	Revive Deed = "revive"
	// Return brings back one member that has to be before it may run.
	Return Deed = "return"
	// Settle has the promise follow the standbys that stream.
	Settle Deed = "settle"
	// Degrade ends the promise until a standby streams again.
	Degrade Deed = "degrade"
)

// Act is a deed with its reason.
type Act struct {
	Deed   Deed
	Member string
	// Fence is set where whatever runs of the primary has to be ended before its start.
	Fence bool
	// Only is set where the member alone is started.
	Only bool
	// Mark is the way back to record of a member that returns and is not marked yet.
	Mark appliance.WayBack
	// Evidence says what was seen, how, and for how long.
	Evidence string
	// Withheld says why the deed is not done, empty if it is.
	Withheld string
}
