package appliance

import (
	"context"
	"io"
	"io/fs"
	"iter"
)

// Layout has PostgreSQL's paths on a member's machine. All are absolute.
type Layout struct {
	// BinDir holds PostgreSQL 17's programs.
	BinDir string
	// DataDir is the data directory.
	DataDir string
	// SocketDir is the directory of the server's unix socket.
	SocketDir string
	// LogFile is the server's log.
	LogFile string
	// ConfDir holds pgapp's files outside of the data directory, such as
	// password files and markers. It has mode 0700 and belongs to OSUser.
	ConfDir string
	// OSUser is the account that runs PostgreSQL.
	OSUser string
	// ControlUser is the account that makes pgapp's own local connections.
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
	// Stdout receives standard output. If it is nil, the output is collected.
	Stdout io.Writer
	// OnStderr, if set, gets standard error line by line; a carriage return
	// ends a line too. The last 64 KiB are always collected.
	OnStderr func(line string)
}

// Result is the outcome of a command.
type Result struct {
	Stdout   []byte
	Stderr   []byte
	ExitCode int
}

// StopMode is pg_ctl's shutdown mode.
type StopMode string

// The shutdown modes (pg_ctl's documentation).
const (
	StopFast      StopMode = "fast"
	StopImmediate StopMode = "immediate"
)

// Machine runs commands, keeps files and controls the server process of one
// member. Its methods return a [Problem] with id member-unreachable if the
// machine does not answer.
type Machine interface {
	// Layout is fixed for the life of the member.
	Layout() Layout
	// Run runs the command to its end. A non-zero exit is an error that wraps
	// *[ExitError]; Result is filled either way. When ctx ends, the command
	// and all its children are killed.
	Run(ctx context.Context, c Command) (Result, error)
	// WriteFile replaces the file atomically; parents must exist.
	WriteFile(ctx context.Context, path string, data []byte, mode fs.FileMode) error
	// ReadFile returns fs.ErrNotExist, wrapped, if there is no such file.
	ReadFile(ctx context.Context, path string) ([]byte, error)
	// StartServer starts PostgreSQL and returns when the server process exists,
	// before it accepts connections. A repeat does nothing.
	StartServer(ctx context.Context) error
	// StopServer stops PostgreSQL and returns when all its processes have ended.
	// A repeat does nothing.
	StopServer(ctx context.Context, mode StopMode) error
	// ServerRunning tells whether a server process exists.
	ServerRunning(ctx context.Context) (bool, error)
	// Fence kills every process of the member. It returns nil only if it has
	// proven that none is left.
	Fence(ctx context.Context) error
}

// PowerState is the state of a machine as its host sees it.
type PowerState string

// The states of a machine. Booting means that pgapp is starting the machine.
const (
	PowerOn      PowerState = "on"
	PowerOff     PowerState = "off"
	PowerPaused  PowerState = "paused"
	PowerBooting PowerState = "booting"
)

// Power is a machine's state, and the reason if it isn't on.
type Power struct {
	State  PowerState
	Reason string
}

// Powered is a [Machine] whose state is known from its host, without a connection
// to the machine.
type Powered interface {
	Power(ctx context.Context) (Power, error)
}

// DirMaker is a [Machine] of one member alone, on which directories can be made
// that the member's OS user has no right to make.
type DirMaker interface {
	// MakeDir makes the directory and its parents, with mode 0700 and owned by
	// the member's OS user. An existing empty directory gets this mode and owner;
	// anything else at the path is left unchanged. made is false if the path
	// existed.
	MakeDir(ctx context.Context, path string) (made bool, err error)
}

// TreeFile is a file or directory to create.
type TreeFile struct {
	// Name is the path below the tree's top, with slashes. A directory comes
	// before its files.
	Name string
	Dir  bool
	// Content of a file. It is valid until the next file is requested.
	Content io.Reader
	// Size in bytes. If Content is shorter, zeros are allocated after it.
	Size int64
}

// TreeFiles yields files to create, or an error that ends them.
type TreeFiles = iter.Seq2[TreeFile, error]

// TreeWriter is a [Machine] on this host. pgapp writes its files directly, which
// for a thousand small files is several times faster than a command.
type TreeWriter interface {
	// WriteTree creates the directory dir, which must not exist, and the files in
	// it, with modes 0700 and 0600, owned by the member's OS user. They are not
	// synced. After an error some of them may exist.
	WriteTree(ctx context.Context, dir string, files TreeFiles) error
}

// AllocateRequest asks a provider to choose facts for new members.
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

// Provider makes machines for members. It tags everything with the cluster's
// UUID, and never touches anything without that tag.
type Provider interface {
	// Allocate chooses addresses, ports, MACs and UUIDs. It changes nothing.
	Allocate(ctx context.Context, r AllocateRequest) ([]Member, error)
	// CreateSteps returns the steps that make the members' machines. A member's
	// last step is of kind [StepMachine]. A step of kind [StepHost] checks this
	// machine.
	CreateSteps(c Cluster, members []Member) []Step
	// DestroySteps returns the steps that remove the members' machines and all
	// their data. A member's last step is of kind [StepRemove].
	DestroySteps(c Cluster, members []Member) []Step
	// StartMachine turns the member's machine on and returns when it runs
	// commands. A repeat does nothing.
	StartMachine(ctx context.Context, c Cluster, m Member, report Report) error
	// StopMachine shuts the machine down after PostgreSQL was stopped. If the
	// machine doesn't react, it is forced off, which is reported. A repeat does
	// nothing.
	StopMachine(ctx context.Context, c Cluster, m Member, report Report) error
	// Machine gives access to a machine; it does no I/O.
	Machine(c Cluster, m Member) Machine
	// Doctor checks whether this host meets the spec's needs.
	Doctor(ctx context.Context, s Spec) []Finding
}

// Resizer is a [Provider] that can change the size of machines. Repeats are safe.
type Resizer interface {
	// SetSize sets the size for the next start of the member's machine.
	SetSize(ctx context.Context, c Cluster, m Member, size MachineSize) error
	// ApplySize applies the new size to a running machine as far as possible: its
	// disk and the guest's file system. restart is set if the rest needs a stop
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
	// Fix is one line that says how to mend it.
	Fix string `json:"fix,omitempty" yaml:"fix,omitempty"`
	// Apply mends it. It is set only if that is safe and can be undone.
	Apply func(ctx context.Context) error `json:"-" yaml:"-"`
}
