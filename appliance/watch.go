package appliance

import "context"

// Vital is a machine's word on a member's server.
type Vital string

const (
	// VitalUnknown says nothing: the machine can't be asked.
	VitalUnknown Vital = ""
	// VitalRunning means that the server's first process exists and may run.
	VitalRunning Vital = "running"
	// VitalGone means that the server's first process has ended, or that the virtual
	// machine is off.
	VitalGone Vital = "gone"
	// VitalHalted means that the server exists and gets no processor: the virtual
	// machine is paused, the cgroup is frozen, or the first process is stopped.
	VitalHalted Vital = "halted"
	// VitalDebugged means that a debugger holds the server's first process.
	VitalDebugged Vital = "debugged"
	// VitalDisk means that the virtual machine is paused since its disk can't be
	// written.
	VitalDisk Vital = "disk"
)

// Sign is what a machine says of a member's server. It says nothing of whether the
// server answers.
type Sign struct {
	Vital Vital
	// Off is set where the member's machine is proven to be off, so that nothing in it
	// can answer.
	Off bool
	// Detail is the machine's own word, such as "paused (user)" or "cgroup is frozen".
	Detail string
}

// Watched is a [Provider] that tells what happens to its machines.
type Watched interface {
	// Watch calls wake after each thing that may have changed the member's sign, and
	// after each time that it may have missed one, so also when it begins. Watch
	// returns when ctx ends, and leaves nothing behind. wake returns at once. An event
	// only wakes; what is true then, Sign tells.
	Watch(ctx context.Context, c Cluster, m Member, wake func(detail string))
	// Sign looks at the member's machine from outside, without a process in it. It
	// changes nothing. An error means that the machine's host can't be asked.
	Sign(ctx context.Context, c Cluster, m Member) (Sign, error)
}
