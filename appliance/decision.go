package appliance

// Decision holds the facts of the moment that shape an operation's plan. It is made
// once, before the first step, and journaled with the operation: the operation has
// the same graph when it is resumed, whatever has changed meanwhile.
type Decision struct {
	// Phase and Initialised are those of the cluster's record at the decision. The
	// operation itself may change the record's.
	Phase       Phase `json:"phase,omitempty"`
	Initialised bool  `json:"initialised,omitempty"`
	// Promise is set if the operation has to settle what is promised of commits: the
	// spec wants quorum durability, or something is promised, or both may change.
	Promise bool `json:"promise,omitempty"`
	// Primary is the primary's name at the decision, if the operation restarts the
	// primary by moving it. The plan is the same before and after the move.
	Primary string `json:"primary,omitempty"`
	// Restart are the parameters that the primary has read and that wait for its restart,
	// found by an up that changes nothing.
	Restart []string `json:"restart,omitempty"`
	// Postgres is the origin of the server programs for members on this machine. It
	// is empty for operations that don't look for them, and if the spec names them.
	Postgres PostgresOrigin `json:"postgres,omitempty"`
	// Template identifies the template that the members are copied from. If empty,
	// the members are made step by step.
	Template string `json:"template,omitempty"`
	// Follow is set if an earlier attempt may have left standbys that run apart from
	// the primary, as copies of another template.
	Follow bool `json:"follow,omitempty"`
	// Parallel is the number of members that are copied at the same time.
	Parallel int `json:"parallel,omitempty"`
}

// PostgresOrigin is the origin of PostgreSQL's programs on this machine.
type PostgresOrigin string

// The origins.
const (
	PostgresOfHost PostgresOrigin = "host" // installed on this machine
	PostgresOfTree PostgresOrigin = "tree" // the tree in the program
)

// StepKind classifies steps that other rooms recognise.
type StepKind string

// The kinds. Other steps have none.
const (
	// StepHost checks this machine.
	StepHost StepKind = "host"
	// StepMachine is the last step that makes a member's machine.
	StepMachine StepKind = "machine"
	// StepRemove is the last step that removes a member's machine.
	StepRemove StepKind = "remove"
	// StepClone makes a standby's data directory.
	StepClone StepKind = "clone"
)
