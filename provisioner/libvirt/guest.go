package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strconv"
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

// Fence ends the machine at once, removes its saved memory, and proves that no
// QEMU process of the machine is left.
func (g *guest) Fence(ctx context.Context) error {
	d, err := g.machines.domainOf(ctx, g.uuid, g.member)
	if errors.Is(err, rpc.ErrNotFound) {
		return g.host.proveEnded(ctx, g.member)
	}
	if appliance.IsProblem(err, appliance.ErrForeignObject) {
		return err
	}
	if err == nil {
		d, err = g.machines.pullPlug(ctx, d.UUID)
	}
	if err != nil && !errors.Is(err, rpc.ErrNotFound) {
		return appliance.NewProblem(appliance.ErrFence, "fencing %q: %w", g.member.Domain, err)
	}
	if err == nil && (!d.State.Off() || d.Saved) {
		return appliance.NewProblem(appliance.ErrFence, "fencing %q: the domain still runs, or keeps saved memory, after it was ended", d.Name)
	}
	if client, err := g.ssh(ctx); err == nil {
		client.Drop()
	}
	return g.host.proveEnded(ctx, g.member)
}

// proveEnded looks for the machine's processes itself: libvirt may have lost
// the domain.
func (h Host) proveEnded(ctx context.Context, m appliance.Member) error {
	pids, err := processesWith(ctx, h.System, m.UUID)
	if err != nil {
		return appliance.NewProblem(appliance.ErrFence, "looking for QEMU processes of %q: %w", m.Domain, err)
	}
	if len(pids) > 0 {
		return appliance.NewProblem(appliance.ErrFence, "QEMU processes of %q still run, unknown to libvirt: %s", m.Domain, strings.Join(pids, ", ")).
			WithHint("end them: kill -KILL %s", strings.Join(pids, " "))
	}
	return nil
}

// processesWith finds a machine's QEMU processes by the UUID in their
// arguments. Without a UUID it finds none.
func processesWith(ctx context.Context, system System, uuid string) ([]string, error) {
	if uuid == "" {
		return nil, nil
	}
	all, err := system.Processes(ctx)
	if err != nil {
		return nil, err
	}
	var pids []string
	for _, p := range all {
		if !strings.Contains(filepath.Base(p.Argv[0]), "qemu") {
			continue
		}
		// Each -uuid counts: QEMU uses the last one, and a domain's name may be
		// "-uuid".
		for i := range p.Argv[1:] {
			if p.Argv[i] == "-uuid" && p.Argv[i+1] == uuid {
				pids = append(pids, strconv.Itoa(p.PID))
				break
			}
		}
	}
	return pids, nil
}
