package appliance

import (
	"context"
	"io"
	"io/fs"
	"iter"
)

// Layout says where PostgreSQL's things are on a member's machine. All paths
// are absolute there.
type Layout struct {
	// BinDir holds PostgreSQL 17's programs.
	BinDir string
	// DataDir is the data directory.
	DataDir string
	// SocketDir is where the server makes its unix socket.
	SocketDir string
	// LogFile is the server's log.
	LogFile string
	// ConfDir holds what pgapp keeps beside the data directory: password
	// files and markers, mode 0700, owned by the member's OS user.
	ConfDir string
	// OSUser is the account that PostgreSQL runs as there.
	OSUser string
	// ControlUser is the account that pgapp's own local connections come from.
	ControlUser string
}

// Command is a program to run on a member's machine as the member's OS user.
type Command struct {
	// Argv is never passed through a shell; Argv[0] is an absolute path or a
	// name found in the machine's PATH.
	Argv []string
	// Env is added to a clean environment (LC_ALL=C, PATH). It never holds secrets.
	Env map[string]string
	// Stdin may be nil.
	Stdin io.Reader
	// Stdout receives standard output where it is not nil; else it is collected.
	Stdout io.Writer
	// OnStderr gets standard error line by line, or at carriage returns, as
	// progress displays write them. It may be nil; standard error is collected
	// (its last 64 KiB) anyway.
	OnStderr func(line string)
}

// Result is how a command ended.
type Result struct {
	Stdout   []byte
	Stderr   []byte
	ExitCode int
}

// StopMode is pg_ctl's shutdown mode.
type StopMode string

// The shutdown modes (pg_ctl's documentation). Smart never fences: open
// sessions go on committing.
const (
	StopFast      StopMode = "fast"
	StopImmediate StopMode = "immediate"
)

// Machine is what a provider gives a member: a place to run commands and to
// keep files, and control over the server process. Its methods return a
// [Problem] with id member-unreachable where the machine does not answer.
type Machine interface {
	// Layout is fixed for the life of the member.
	Layout() Layout
	// Run runs the command to its end. A non-zero exit is an error that wraps
	// *[ExitError]; Result is filled either way. When ctx ends, the command
	// and all its children are killed.
	Run(ctx context.Context, c Command) (Result, error)
	// WriteFile replaces the file atomically; parents must exist.
	WriteFile(ctx context.Context, path string, data []byte, mode fs.FileMode) error
	// ReadFile returns an error that is fs.ErrNotExist where there is none.
	ReadFile(ctx context.Context, path string) ([]byte, error)
	// StartServer starts PostgreSQL on the data directory and returns when
	// the server process exists; it does not wait until it accepts. A repeat
	// on a running server does nothing.
	StartServer(ctx context.Context) error
	// StopServer stops PostgreSQL and returns when no process of it is left.
	// A repeat on a stopped server does nothing.
	StopServer(ctx context.Context, mode StopMode) error
	// ServerRunning observes whether a server process exists.
	ServerRunning(ctx context.Context) (bool, error)
	// Fence ends every process of the member for good, whatever state it is
	// in, and returns nil only when it has proven that none is left.
	Fence(ctx context.Context) error
}

// PowerState is what a machine does, as its host sees it.
type PowerState string

// The states of a machine's power. Booting is a machine that pgapp brings up at
// the moment.
const (
	PowerOn      PowerState = "on"
	PowerOff     PowerState = "off"
	PowerPaused  PowerState = "paused"
	PowerBooting PowerState = "booting"
)

// Power is a machine's power, and in words why it isn't on.
type Power struct {
	State  PowerState
	Reason string
}

// Powered is a [Machine] whose host tells what it does, without asking the
// machine itself.
type Powered interface {
	Power(ctx context.Context) (Power, error)
}

// DirMaker is a [Machine] of a member's own, where directories can be made that
// the member's OS user has no right to make.
type DirMaker interface {
	// MakeDir makes the directory, its parents too, mode 0700 and owned by the
	// member's OS user, as it does with an empty one that is there already.
	// Anything else in its place is left as it is. Made tells whether there was
	// nothing.
	MakeDir(ctx context.Context, path string) (made bool, err error)
}

// TreeFile is a file or a directory to make.
type TreeFile struct {
	// Name is its path below the tree's top, with slashes; a directory comes
	// before what is in it.
	Name string
	Dir  bool
	// Content of a file, to be read before the next file is asked for.
	Content io.Reader
	// Size in bytes of the file, filled with zeros and with its space taken,
	// where that is more than Content has.
	Size int64
}

// TreeFiles are files to make, one after the other, or an error that ends them.
type TreeFiles = iter.Seq2[TreeFile, error]

// TreeWriter is a [Machine] on this host, whose files pgapp can write itself:
// for a thousand small files that is several times faster than a command.
type TreeWriter interface {
	// WriteTree makes the directory dir, which may not exist, and the files in
	// it, with modes 0700 and 0600, as the member's OS user. They are not yet
	// durable, and after an error some of them are left.
	WriteTree(ctx context.Context, dir string, files TreeFiles) error
}

// AllocateRequest is what a provider needs to choose facts for new members.
type AllocateRequest struct {
	Spec    Spec
	Cluster string
	// UUID is the cluster's.
	UUID string
	// Names of the members to allocate; the first of a new cluster is its primary.
	Names []string
	// Existing are the cluster's members so far.
	Existing []Member
	// Others are the members of all other clusters of this home.
	Others []Member
}

// Provider makes machines for members. Everything that it makes is tagged
// with the cluster's UUID, and it never touches what is not.
type Provider interface {
	// Allocate chooses addresses, ports, MACs and UUIDs. It changes nothing.
	Allocate(ctx context.Context, r AllocateRequest) ([]Member, error)
	// CreateSteps are the steps that make the members' machines. The step
	// with id "machine/<member>" is the last of each member.
	CreateSteps(c Cluster, members []Member) []Step
	// DestroySteps remove the members' machines and all their data; the last
	// step of each member has id "remove/<member>".
	DestroySteps(c Cluster, members []Member) []Step
	// StartMachine powers the member's machine on and returns when commands
	// can be run there. A repeat does nothing.
	StartMachine(ctx context.Context, c Cluster, m Member, report Report) error
	// StopMachine powers the machine off, after PostgreSQL was stopped: in an
	// orderly way, and where the machine doesn't follow by harder means, which
	// it reports. A repeat does nothing.
	StopMachine(ctx context.Context, c Cluster, m Member, report Report) error
	// Machine gives access to a machine; it does no I/O.
	Machine(c Cluster, m Member) Machine
	// Doctor checks what the spec needs of this host.
	Doctor(ctx context.Context, s Spec) []Finding
}

// Resizer is a [Provider] whose machines have a size of their own. Repeats are
// safe.
type Resizer interface {
	// SetSize sets what the member's machine has from its next start on.
	SetSize(ctx context.Context, c Cluster, m Member, size MachineSize) error
	// ApplySize gives a machine that runs what it can have at once, its disk,
	// with the guest's file system. restart is set where the rest takes a stop
	// and a start.
	ApplySize(ctx context.Context, c Cluster, m Member, size MachineSize, report Report) (restart bool, err error)
}

// FindingLevel grades a finding.
type FindingLevel string

// The levels. A warning never changes an exit code.
const (
	LevelPass FindingLevel = "PASS"
	LevelWarn FindingLevel = "WARN"
	LevelFail FindingLevel = "FAIL"
	LevelSkip FindingLevel = "SKIP"
)

// Finding is one line of the doctor.
type Finding struct {
	ID      string       `json:"id" yaml:"id"`
	Level   FindingLevel `json:"level" yaml:"level"`
	Summary string       `json:"summary" yaml:"summary"`
	// Fix is one line that mends it.
	Fix string `json:"fix,omitempty" yaml:"fix,omitempty"`
	// Apply mends it where that is safe and can be undone.
	Apply func(ctx context.Context) error `json:"-" yaml:"-"`
}
