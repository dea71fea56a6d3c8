package local

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"

	"pgapp/appliance"
)

// Modes of what the provider makes: the home can be passed through, what is
// in it can't be read.
const (
	passMode    = 0o711
	privateMode = 0o700
)

// maxSocketPath is what sockaddr_un takes, without the closing zero.
const maxSocketPath = 107

// longestSocket is the longest name that PostgreSQL puts into a socket directory.
const longestSocket = "/.s.PGSQL.65535.lock"

// daemonSocket is the socket that the daemon makes in the home.
const daemonSocket = "/pgapp.sock"

// uuidPrefix is how much of a cluster's UUID names carry.
const uuidPrefix = 8

// Config is what the provider needs.
type Config struct {
	// Home is pgapp's home directory, an absolute path. It has to exist
	// before the first cluster is made.
	Home string
	// TempDir takes socket directories whose path in Home would be too long.
	// Empty: /tmp.
	TempDir string
	// FirstBlock is the third octet of the first cluster's addresses, 1 to
	// 250, so that two homes on one machine need not meet. Zero: 122.
	FirstBlock byte
}

// Provider makes members of processes on this machine. Its methods are safe
// for concurrent use. Servers that it started outlive it.
type Provider struct {
	home    string
	temp    string
	account account
	cgroups cgroups
	block   byte

	// accounts makes looking for the last cluster and making or removing the
	// account a single act.
	accounts sync.Mutex

	mu       sync.Mutex
	children map[string]*child
}

var _ appliance.Provider = (*Provider)(nil)

// New makes the provider. Which account PostgreSQL runs as is decided here:
// the caller's own, or for root, who may not run PostgreSQL, postgres where
// it exists, else one that is created with the first cluster.
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

// Machine gives access to a member's processes and files.
func (p *Provider) Machine(c appliance.Cluster, m appliance.Member) appliance.Machine {
	return p.machine(c, m)
}

func (p *Provider) machine(c appliance.Cluster, m appliance.Member) *machine {
	return &machine{place{
		p: p, cluster: c.Name, member: m.Name, uuid: c.UUID, binDir: c.PostgresBin, env: c.PostgresEnv,
		dir: filepath.Join(p.clusterDir(c.Name), m.Name), shared: c.SharesMachine(),
	}}
}

// StartMachine readies what a reboot takes away: the socket directory and the
// cgroup. A repeat does nothing.
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

// StopMachine ends what commands left behind and removes the cgroup. It
// refuses while the server runs. A repeat does nothing.
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

// place is where a member lives on this machine: its directories, the mark in
// them, and the files that pgapp keeps there.
type place struct {
	p       *Provider
	cluster string
	member  string
	uuid    string
	binDir  string
	env     []string // what the programs in binDir need
	dir     string
	shared  bool // the cluster's other members are on this machine too
}

var _ appliance.Machine = (*machine)(nil)

// Layout says where the member's things are.
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

// socketDir is in the member's directory where PostgreSQL's sockets fit the
// kernel's limit there, and where no comma makes a list of hosts of it
// (libpq's host).
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

// tag names what belongs to the member outside of its directory.
func (m *place) tag() string { return "pgapp-" + shortUUID(m.uuid) + "-" + m.member }

func shortUUID(uuid string) string { return uuid[:min(len(uuid), uuidPrefix)] }

func controlUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return os.Getenv("USER")
}
