package libvirt

import (
	"context"
	"fmt"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ssh"
)

// Login is how to log in to a member's machine.
type Login struct {
	Host string
	Port int
	User string
	// Key is an OpenSSH private key; HostKey is the machine's public one, by
	// which it is known from the start.
	Key     appliance.Secret
	HostKey string
}

const sshPort = 22

// ProcessorTime is the time that this host's processors have worked for the member's
// machine since the machine was started: for the guest and for QEMU itself. A member on the
// host has no machine: that is a problem with id usage.
func (p *Provider) ProcessorTime(ctx context.Context, c appliance.Cluster, m appliance.Member) (time.Duration, error) {
	if m.Placement != appliance.PlacementVM {
		return 0, appliance.NewProblem(appliance.ErrUsage, "%s is a process on this machine: its control group counts what it uses", m.Name)
	}
	d, err := p.machines.domainOf(ctx, c.UUID, m)
	if err != nil {
		return 0, err
	}
	return p.machines.virt.ProcessorTime(ctx, d.UUID)
}

// Login returns how to log in to the member's machine, which may be off. A
// member on the host has none: that is a problem with id usage.
func (p *Provider) Login(ctx context.Context, c appliance.Cluster, m appliance.Member) (Login, error) {
	if m.Placement != appliance.PlacementVM {
		return Login{}, appliance.NewProblem(appliance.ErrUsage, "%s is a process on this machine: there is nothing to log in to", m.Name).
			WithHint("its data directory is %s; its log: pgapp logs %s", p.Machine(c, m).Layout().DataDir, m.Name)
	}
	s, err := p.cfg.Secrets.Secrets(ctx, c.Name)
	if err != nil {
		return Login{}, err
	}
	key := s.Get(appliance.SecretSSHKey)
	if key.Empty() {
		return Login{}, appliance.NewProblem(appliance.ErrConflict, "%s has no keys yet: pgapp has not made it", m.Name).WithHint("run pgapp up")
	}
	host, err := ssh.PublicKey(s.Get(appliance.SecretHostKeyPrefix + m.Name))
	if err != nil {
		return Login{}, fmt.Errorf("the host key of %q: %w", m.Name, err)
	}
	return Login{Host: m.Host, Port: sshPort, User: guestUser, Key: key, HostKey: host}, nil
}
