package local

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"

	"pgapp/appliance"
)

// Modes of the provider's directories: other users can pass through the home,
// but can't read its content.
const (
	passMode    = 0o711
	privateMode = 0o700
)

// maxSocketPath is the longest path in sockaddr_un, in bytes without the final
// zero.
const maxSocketPath = 107

// longestSocket is the longest name that PostgreSQL creates in a socket directory.
const longestSocket = "/.s.PGSQL.65535.lock"

// daemonSocket is the daemon's socket in the home.
const daemonSocket = "/pgapp.sock"

// uuidPrefix is the number of digits of the cluster's UUID in a name.
const uuidPrefix = 8

// Config configures a Provider.
type Config struct {
	// Home is the absolute path of pgapp's home directory, which has to exist
	// before the first cluster is created.
	Home string
	// TempDir contains the socket directories whose paths in Home would be too
	// long. Empty: /tmp.
	TempDir string
	// FirstBlock is the third octet of the first cluster's addresses, 1 to
	// 250. Two homes on one machine can use different blocks. Zero: 122.
	FirstBlock byte
}

// Provider runs members as processes on this machine. Its methods are safe for
// concurrent use. The servers outlive the Provider that started them.
type Provider struct {
	home    string
	temp    string
	account account
	cgroups cgroups
	block   byte

	// accounts is held while the provider looks for the last cluster and creates
	// or removes the account.
	accounts sync.Mutex

	mu       sync.Mutex
	children map[string]*child

	known   acquaintances
	glances glances
	claims  claims
}

var _ appliance.Provider = (*Provider)(nil)

// New creates a Provider and chooses the account that PostgreSQL runs as. An
// ordinary user's PostgreSQL runs as that user. PostgreSQL refuses to run as
// root; for root the account is the owner of existing members, else postgres if
// it exists, else an account that the first cluster's creation creates.
func New(cfg Config) *Provider {
	home := filepath.Clean(cfg.Home)
	temp := cfg.TempDir
	if temp == "" {
		temp = "/tmp"
	}
	return &Provider{
		home:     home,
		temp:     temp,
		account:  chooseAccount(os.Geteuid(), home, ownAccountPrefix, serverAccountName),
		cgroups:  findCgroups(os.Geteuid()),
		block:    cmp.Or(cfg.FirstBlock, firstBlock),
		children: map[string]*child{},
	}
}

// Machine returns access to a member's processes and files.
func (p *Provider) Machine(c appliance.Cluster, m appliance.Member) appliance.Machine {
	return p.machine(c, m)
}

func (p *Provider) machine(c appliance.Cluster, m appliance.Member) *machine {
	at, _ := addrPort(m)
	return &machine{place{
		p: p, at: at, cluster: c.Name, member: m.Name, uuid: c.UUID, binDir: c.PostgresBin, env: c.PostgresEnv,
		dir: filepath.Join(p.clusterDir(c.Name), m.Name), shared: c.SharesMachine(),
	}}
}

// StartMachine creates the socket directory and the cgroup, which a reboot
// removes. A repeat does nothing.
func (p *Provider) StartMachine(ctx context.Context, c appliance.Cluster, m appliance.Member, _ appliance.Report) error {
	mc := p.machine(c, m)
	if err := mc.requireOwn(); err != nil {
		return err
	}
	ids, err := p.account.lookup()
	if err != nil {
		return err
	}
	if err := mc.makeRuntime(ids); err != nil {
		return err
	}
	return ctx.Err()
}

// StopMachine ends processes that commands left behind and removes the cgroup.
// StopMachine refuses while the server runs. A repeat does nothing.
func (p *Provider) StopMachine(ctx context.Context, c appliance.Cluster, m appliance.Member, _ appliance.Report) error {
	mc := p.machine(c, m)
	running, err := mc.ServerRunning(ctx)
	if err != nil {
		return err
	}
	if running {
		return appliance.NewProblem(appliance.ErrConflict, "member %s still runs PostgreSQL", m.Name).
			WithHint("pgapp stop %s", m.Name)
	}
	return mc.Fence(ctx)
}

func (p *Provider) clustersDir() string { return filepath.Join(p.home, "clusters") }

func (p *Provider) clusterDir(cluster string) string { return filepath.Join(p.clustersDir(), cluster) }

// machine is one member's directory and processes.
type machine struct{ place }

// place is a member's directories on this machine, with their marker and the
// files that pgapp keeps there.
type place struct {
	p       *Provider
	at      netip.AddrPort
	cluster string
	member  string
	uuid    string
	binDir  string
	env     []string // environment for the programs in binDir
	dir     string
	shared  bool // the cluster's other members are on this machine too
}

var _ appliance.Machine = (*machine)(nil)

// Layout returns the paths of the member's files and directories.
func (m *place) Layout() appliance.Layout {
	return appliance.Layout{
		BinDir:      m.binDir,
		DataDir:     filepath.Join(m.dir, "data"),
		SocketDir:   m.socketDir(),
		LogFile:     filepath.Join(m.dir, "log", "postgresql.log"),
		ConfDir:     filepath.Join(m.dir, "conf"),
		OSUser:      m.p.account.name,
		ControlUser: controlUser(),
	}
}

// socketDir returns a directory in the member's directory, or a short one in
// TempDir if the socket's path would exceed the kernel's limit or contains a
// comma, which separates hosts in libpq's host.
func (m *place) socketDir() string {
	dir := filepath.Join(m.dir, "run")
	if len(dir)+len(longestSocket) <= maxSocketPath && !strings.Contains(dir, ",") {
		return dir
	}
	return m.shortSocketDir()
}

func (m *place) shortSocketDir() string {
	sum := sha256.Sum256([]byte(m.p.home + "\x00" + m.uuid + "\x00" + m.member))
	return filepath.Join(m.p.temp, "pgapp-"+hex.EncodeToString(sum[:6]))
}

// tag returns the name of the member's objects outside its directory, such as
// its cgroup.
func (m *place) tag() string { return "pgapp-" + shortUUID(m.uuid) + "-" + m.member }

func shortUUID(uuid string) string { return uuid[:min(len(uuid), uuidPrefix)] }

func controlUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return os.Getenv("USER")
}
