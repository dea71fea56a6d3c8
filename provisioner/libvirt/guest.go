package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"sync"

	"pgapp/appliance"
	"pgapp/appliance/ssh"
	"pgapp/provisioner/libvirt/rpc"
)

const (
	serverUnit = "pgapp-postgres.service"
	postgres   = "postgres"
	memberDir  = "/var/lib/postgresql/pgapp"
)

// guest is one member's machine.
type guest struct {
	secrets       SecretStore
	host          Host
	machines      *machines
	cluster, uuid string
	member        appliance.Member

	mu     sync.Mutex
	client *ssh.Client
}

var _ appliance.Machine = (*guest)(nil)

// Layout is the same in every guest.
func (g *guest) Layout() appliance.Layout {
	return appliance.Layout{
		BinDir:      "/usr/lib/postgresql/17/bin",
		DataDir:     memberDir + "/data",
		SocketDir:   "/run/postgresql",
		LogFile:     memberDir + "/server.log",
		ConfDir:     memberDir + "/conf",
		OSUser:      postgres,
		ControlUser: postgres,
	}
}

// ssh returns the member's client; its key comes from the store.
func (g *guest) ssh(ctx context.Context) (*ssh.Client, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.client != nil {
		return g.client, nil
	}
	s, err := g.secrets.Secrets(ctx, g.cluster)
	if err != nil {
		return nil, err
	}
	public, err := ssh.PublicKey(s.Get(appliance.SecretHostKeyPrefix + g.member.Name))
	if err != nil {
		return nil, fmt.Errorf("the host key of %q: %w", g.member.Name, err)
	}
	g.client, err = ssh.New(ssh.Config{
		Address: net.JoinHostPort(g.member.Host, "22"), User: guestUser,
		Key: s.Get(appliance.SecretSSHKey), HostKey: public, Dial: g.host.Network.Dial,
	})
	return g.client, err
}

func (g *guest) close() {
	g.mu.Lock()
	client := g.client
	g.client = nil
	g.mu.Unlock()
	if client != nil {
		client.Close()
	}
}

// as returns a shell of the user.
func (g *guest) as(ctx context.Context, user string) (ssh.Shell, error) {
	client, err := g.ssh(ctx)
	if err != nil {
		return ssh.Shell{}, err
	}
	return client.As(user), nil
}

// Run runs the command as postgres.
func (g *guest) Run(ctx context.Context, c appliance.Command) (appliance.Result, error) {
	shell, err := g.as(ctx, postgres)
	if err != nil {
		return appliance.Result{}, err
	}
	return shell.Run(ctx, c)
}

// WriteFile replaces the file as postgres.
func (g *guest) WriteFile(ctx context.Context, path string, data []byte, mode fs.FileMode) error {
	shell, err := g.as(ctx, postgres)
	if err != nil {
		return err
	}
	return shell.WriteFile(ctx, path, data, mode)
}

// ReadFile reads the file as postgres.
func (g *guest) ReadFile(ctx context.Context, path string) ([]byte, error) {
	shell, err := g.as(ctx, postgres)
	if err != nil {
		return nil, err
	}
	return shell.ReadFile(ctx, path)
}

// root runs a script as root; its words are the script's arguments.
func (g *guest) root(ctx context.Context, script string, words ...string) (string, error) {
	shell, err := g.as(ctx, "root")
	if err != nil {
		return "", err
	}
	r, err := shell.Run(ctx, appliance.Command{Argv: append([]string{"sh", "-c", script, "sh"}, words...)})
	return strings.TrimSpace(string(r.Stdout)), err
}

// off tells whether the machine certainly doesn't run.
func (g *guest) off(ctx context.Context) bool {
	d, err := g.machines.domainOf(ctx, g.uuid, g.member)
	if errors.Is(err, rpc.ErrNotFound) {
		return g.host.proveEnded(ctx, g.member) == nil
	}
	return err == nil && d.State.Off()
}
