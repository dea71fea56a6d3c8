package libvirt

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ssh"
	"pgapp/provisioner/libvirt/image"
	"pgapp/provisioner/libvirt/rpc"
)

const (
	defaultBootLimit = 10 * time.Minute
	// buildLimit is for a golden image on an emulated machine.
	defaultBuildLimit = 45 * time.Minute
	// stopLimit is how long a guest may take to power off before it is ended;
	// its PostgreSQL has been stopped then.
	stopLimit = 2 * time.Minute
	// busyLimit is how long libvirt may keep a volume that was being filled.
	busyLimit = time.Minute
)

// SecretStore keeps the keys of guests; appliance.Records is one.
type SecretStore interface {
	Secrets(ctx context.Context, cluster string) (appliance.Secrets, error)
	UpdateSecrets(ctx context.Context, cluster string, change func(*appliance.Secrets) error) error
}

// Config is what the provider needs.
type Config struct {
	// Host is the machine that libvirt runs on.
	Host Host
	// Local makes the primary if it runs on the host.
	Local appliance.Provider
	// LocalWatched tells what happens to that primary.
	LocalWatched appliance.Watched
	// Secrets keeps the guests' keys.
	Secrets SecretStore
	// Documents holds cloud-init's documents and the image's scripts, as
	// embed/cloudinit does.
	Documents fs.FS
	// ImageDir holds fetched images. TempDir holds seeds while they are made,
	// and has to be private. Both have to exist.
	ImageDir string
	TempDir  string
	// BootLimit is how long one guest may take from its start until SSH
	// answers and cloud-init is done; zero is 10 minutes. BuildLimit is the
	// same for a golden image; zero is 45.
	BootLimit  time.Duration
	BuildLimit time.Duration

	// stopLimit is how long a guest may take to power off; zero is 2 minutes.
	stopLimit time.Duration
}

// Provider makes members of virtual machines. It is safe for concurrent use.
type Provider struct {
	cfg *Config
	// closeConn ends the connections to libvirt.
	closeConn func()

	turns    *turns
	accel    *acceleration
	disks    *disks
	networks *networks
	machines *machines
	imaging  *imaging
	seeds    *seeds
	remover  *remover
	checks   *checks
	watching *watching

	mu     sync.Mutex
	guests map[string]*guest
}

var _ appliance.Provider = (*Provider)(nil)

// New makes the provider. It does no I/O.
func New(cfg Config) *Provider {
	conn := rpc.New(rpc.SocketDialer(cfg.Host.Network.Dial, rpc.DefaultSockets()...))
	p := assemble(cfg, hypervisorOf(conn))
	p.closeConn = conn.Close
	return p
}

// Close ends the connections to guests and to libvirt. Guests keep running.
func (p *Provider) Close() {
	p.mu.Lock()
	guests := p.guests
	p.guests = map[string]*guest{}
	p.mu.Unlock()
	for _, g := range guests {
		g.close()
	}
	p.closeConn()
}

// Images is the store of fetched images, for `pgapp image`.
func (p *Provider) Images() *image.Store { return p.imaging.images }

// turn waits until no other caller in this process makes the object.
func (t *turns) turn(ctx context.Context, what string) (release func(), err error) {
	release, err = t.building.Enter(ctx, what)
	if err != nil {
		return nil, fmt.Errorf("waiting for %s: %w", what, err)
	}
	return release, nil
}

// Machine gives access to a member. It does no I/O.
func (p *Provider) Machine(c appliance.Cluster, m appliance.Member) appliance.Machine {
	if m.Placement == appliance.PlacementLocal {
		return p.cfg.Local.Machine(c, m)
	}
	return p.guest(c, m)
}

func (p *Provider) guest(c appliance.Cluster, m appliance.Member) *guest {
	key := c.UUID + "/" + m.Name + "/" + m.UUID + "/" + m.Host
	p.mu.Lock()
	defer p.mu.Unlock()
	g, ok := p.guests[key]
	if !ok {
		g = p.newGuest(c, m)
		p.guests[key] = g
	}
	return g
}

// forget closes the connections to a member that is removed.
func (p *Provider) forget(c appliance.Cluster, member string) {
	p.mu.Lock()
	var gone []*guest
	for key, g := range p.guests {
		if g.uuid == c.UUID && g.member.Name == member {
			gone = append(gone, g)
			delete(p.guests, key)
		}
	}
	p.mu.Unlock()
	for _, g := range gone {
		g.close()
	}
}

// ensureKeys makes the user key and the members' host keys where they are
// missing, in one transaction. A repeat does nothing.
func (p *Provider) ensureKeys(ctx context.Context, c appliance.Cluster, members []appliance.Member) error {
	return p.cfg.Secrets.UpdateSecrets(ctx, c.Name, func(s *appliance.Secrets) error {
		if s.Values == nil {
			s.Values = map[string]appliance.Secret{}
		}
		for _, key := range keyNames(members) {
			if !s.Get(key).Empty() {
				continue
			}
			private, err := ssh.GenerateKey("pgapp " + c.Name)
			if err != nil {
				return err
			}
			s.Values[key] = private
		}
		return nil
	})
}

// haveKeys tells whether ensureKeys has nothing to do.
func (p *Provider) haveKeys(ctx context.Context, c appliance.Cluster, members []appliance.Member) (bool, error) {
	s, err := p.cfg.Secrets.Secrets(ctx, c.Name)
	if err != nil {
		return false, err
	}
	for _, key := range keyNames(members) {
		if s.Get(key).Empty() {
			return false, nil
		}
	}
	return true, nil
}

func keyNames(members []appliance.Member) []string {
	names := []string{appliance.SecretSSHKey}
	for _, m := range members {
		names = append(names, appliance.SecretHostKeyPrefix+m.Name)
	}
	return names
}
