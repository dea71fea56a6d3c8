package libvirt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ssh"
	"pgapp/provisioner/libvirt/rpc"
)

// detachLimit is how long a guest gets to let go of the seed's disk.
const detachLimit = 10 * time.Second

func (p *Provider) memberSpec(ctx context.Context, c appliance.Cluster, m appliance.Member) (machineSpec, error) {
	t := memberTag(c, m.Name)
	root, ok, err := p.volume(ctx, volumeName(t, volRoot))
	if err == nil && !ok {
		err = appliance.NewProblem(appliance.ErrMemberUnreachable, "the disk of %q is gone", m.Name).
			WithHint("make the member anew: pgapp reinit %s, or pgapp up", m.Name)
	}
	return machineSpec{
		Tag: t, Name: m.Domain, UUID: m.UUID, MAC: m.MAC, Network: networkName(c.Spec),
		VCPUs: c.Spec.VCPUs, MemoryMiB: c.Spec.MemoryMiB,
		Root: root.Path, Console: poolPath + "/" + volumeName(t, volConsole), Cache: cacheRun,
	}, err
}

// ensureMachine brings the member's machine to where commands can be run on
// it. The first time it gets its identity, from a seed that is gone
// afterwards. Where the primary is on the host, the way there is tried.
func (p *Provider) ensureMachine(ctx context.Context, c appliance.Cluster, m appliance.Member, report appliance.Report) error {
	if err := p.ensurePool(ctx); err != nil {
		return err
	}
	net, err := p.ensureNetwork(ctx, c)
	if err != nil {
		return err
	}
	spec, err := p.memberSpec(ctx, c, m)
	if err != nil {
		return err
	}
	d, err := p.domainOf(ctx, c.UUID, m)
	if err != nil && !errors.Is(err, rpc.ErrNotFound) {
		return err
	}
	exists := err == nil
	if exists {
		spec.Name = d.Name // which a user may have changed
	}
	if err := p.halt(ctx, spec.Name, c.UUID); err != nil {
		return err
	}
	if err := p.reserve(ctx, spec.Network, spec.Tag, m.MAC, m.Host); err != nil {
		return err
	}
	settled := exists && !hasSeed(d.XML)
	switch {
	case settled:
	case exists && !d.State.Off():
		spec.Seed = poolPath + "/" + volumeName(spec.Tag, volSeed)
	default:
		if spec.Seed, err = p.memberSeed(ctx, c, m, net); err != nil {
			return err
		}
	}
	g := p.guest(c, m)
	client, err := g.ssh(ctx)
	if err != nil {
		return err
	}
	how, err := p.up(ctx, boot{spec: spec, accel: c.Spec.Accel, client: client, report: report})
	if err != nil {
		return err
	}
	if !settled {
		if err := p.settle(ctx, g, spec, c.Spec.Locale, report); err != nil {
			return err
		}
	}
	report(appliance.Progress{Detail: how})
	return p.reachHost(ctx, c, g)
}

func (p *Provider) memberSeed(ctx context.Context, c appliance.Cluster, m appliance.Member, net subnet) (string, error) {
	s, err := p.cfg.Secrets.Secrets(ctx, c.Name)
	if err != nil {
		return "", err
	}
	id := identity{InstanceID: m.UUID, Hostname: m.Name, MAC: m.MAC, HostKey: s.Get(appliance.SecretHostKeyPrefix + m.Name)}
	if id.UserKey, err = ssh.PublicKey(s.Get(appliance.SecretSSHKey)); err != nil {
		return "", fmt.Errorf("the key for the guests of %q: %w", c.Name, err)
	}
	return p.makeSeed(ctx, memberTag(c, m.Name), id, m.Host, net)
}

// makeSeed uploads the seed of a machine, over an older one.
func (p *Provider) makeSeed(ctx context.Context, t tag, id identity, address string, net subnet) (string, error) {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return "", fmt.Errorf("the address of %q: %w", t.Member, err)
	}
	id.Address, id.Gateway = netip.PrefixFrom(addr, net.Host.Bits()), net.Host.Addr()
	if id.HostPublic, err = ssh.PublicKey(id.HostKey); err != nil {
		return "", fmt.Errorf("the host key of %q: %w", t.Member, err)
	}
	files, err := id.documents(p.cfg.Documents)
	if err != nil {
		return "", err
	}
	img, err := files.image(p.cfg.TempDir)
	if err != nil {
		return "", err
	}
	name := volumeName(t, volSeed)
	if err := p.upload(ctx, rawVolume(name, uint64(len(img))), bytes.NewReader(img), int64(len(img))); err != nil {
		return "", err
	}
	v, err := p.virt.Volume(ctx, poolName, name)
	return v.Path, err
}

// settle checks that the guest took its identity, gives it the cluster's
// locale, keeps cloud-init from ever running again, and removes the seed and
// its copies.
func (p *Provider) settle(ctx context.Context, g *guest, spec machineSpec, locale string, report appliance.Report) error {
	report(appliance.Progress{Detail: "waiting for cloud-init"})
	if err := p.cloudInit(ctx, g); err != nil {
		return err
	}
	if _, err := g.root(ctx, settleScript, memberDir, serverUnit, serverUnitText(g.Layout()), locale); err != nil {
		return fmt.Errorf("settling %q: %w", g.member.Name, err)
	}
	return p.dropSeed(ctx, spec)
}

const settleScript = `set -eu
umask 022
install -d -o postgres -g postgres -m 0700 "$1" "$1/conf"
[ -e "$1/server.log" ] || install -o postgres -g postgres -m 0600 /dev/null "$1/server.log"
printf '%s' "$3" >"/etc/systemd/system/$2"
systemctl daemon-reload
case $4 in
"" | C.*) ;;
*) locale -a | grep -qixF "${4%.*}.utf8" || localedef -i "${4%.*}" -f UTF-8 "$4" ;;
esac
touch /etc/cloud/cloud-init.disabled
rm -rf /var/lib/cloud/instances/*/user-data.txt* /var/lib/cloud/instances/*/vendor-data* \
	/var/lib/cloud/instances/*/cloud-config.txt /var/lib/cloud/instances/*/obj.pkl \
	/var/lib/cloud/instances/*/scripts /run/cloud-init/instance-data-sensitive.json /run/cloud-init/combined-cloud-config.json
sync`

// serverUnitText is the unit that runs PostgreSQL. It is never enabled: only
// pgapp starts a server, which then has a role.
func serverUnitText(l appliance.Layout) string {
	return `[Unit]
Description=PostgreSQL, started by pgapp and by nothing else
After=network.target

[Service]
Type=exec
User=` + l.OSUser + `
RuntimeDirectory=postgresql
RuntimeDirectoryMode=2775
RuntimeDirectoryPreserve=yes
Environment=LC_ALL=C PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj PG_OOM_ADJUST_VALUE=0
ExecStart=` + l.BinDir + `/postgres -D ` + l.DataDir + `
StandardOutput=append:` + l.LogFile + `
StandardError=append:` + l.LogFile + `
KillMode=mixed
KillSignal=SIGINT
TimeoutStopSec=infinity
OOMScoreAdjust=-900
`
}

// cloudInit waits for cloud-init and judges how it ended. Once we have
// disabled it there is nothing to wait for.
func (p *Provider) cloudInit(ctx context.Context, g *guest) error {
	const script = `[ ! -e /etc/cloud/cloud-init.disabled ] || exit 0
exec cloud-init status --wait --format json`
	out, err := g.root(ctx, script)
	var exit *appliance.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("asking cloud-init on %q: %w", g.member.Name, err)
	}
	code := 0
	if exit != nil {
		code = exit.Code
	}
	bad := judgeCloudInit(g.member.Name, out, code)
	var known *appliance.Problem
	if !errors.As(bad, &known) {
		return bad
	}
	if lines := p.console(ctx, volumeName(tag{UUID: g.uuid, Cluster: g.cluster, Member: g.member.Name}, volConsole)); lines != "" {
		_ = known.WithDetail(known.Detail + "\nthe console's last lines:\n" + lines)
	}
	if g.member.Name == builder { // which is removed, whatever becomes of it
		return known.WithHint("the image fails before pgapp has changed anything in it: boot it by hand, or choose another with --image")
	}
	return known.WithHint("see /var/log/cloud-init.log there: virsh console %s", g.member.Domain)
}

// judgeCloudInit reads the answer. Exit code 2 says that something was
// recovered from, such as a deprecated key.
func judgeCloudInit(name, text string, code int) error {
	var status struct {
		Status      string              `json:"status"`
		Detail      string              `json:"detail"`
		Errors      []string            `json:"errors"`
		Recoverable map[string][]string `json:"recoverable_errors"`
	}
	if code == 0 && text == "" {
		return nil
	}
	bad := appliance.NewProblem(appliance.ErrGuestCloudInit, "cloud-init failed on %q (exit code %d)", name, code)
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		return bad.WithDetail(text)
	}
	if (code == 0 || code == 2) && status.Status == "done" {
		return nil
	}
	lines := append(status.Errors, status.Detail)
	for _, level := range []string{"CRITICAL", "ERROR", "WARNING"} {
		lines = append(lines, status.Recoverable[level]...)
	}
	return bad.WithDetail(strings.Join(lines, "\n"))
}

// dropSeed takes the seed's disk away and deletes it.
func (p *Provider) dropSeed(ctx context.Context, spec machineSpec) error {
	path := poolPath + "/" + volumeName(spec.Tag, volSeed)
	if err := p.virt.DetachDisk(ctx, spec.Name, seedDisk(path)); err != nil {
		return err
	}
	// A guest that doesn't let go loses the disk with its next start.
	limited, cancel := context.WithTimeout(ctx, detachLimit)
	defer cancel()
	_ = poll(limited, func(ctx context.Context) (bool, error) {
		disks, err := p.virt.LiveDisks(ctx, spec.Name)
		return err == nil && !slices.Contains(disks, seedTarget), nil
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return p.dropVolume(ctx, volumeName(spec.Tag, volSeed))
}

// machineReady observes what ensureMachine brings about, the way to the host
// included: it may be shut still when the user tries again.
func (p *Provider) machineReady(ctx context.Context, c appliance.Cluster, m appliance.Member) (bool, error) {
	d, err := p.domainOf(ctx, c.UUID, m)
	if errors.Is(err, rpc.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if d.State != rpc.DomainRunning || d.Thawed() || hasSeed(d.XML) {
		return false, nil
	}
	client, err := p.guest(c, m).ssh(ctx)
	if err != nil {
		return false, nil // the keys are made by a step
	}
	ctx, cancel := context.WithTimeout(ctx, detachLimit)
	defer cancel()
	if client.Connect(ctx) != nil {
		return false, nil
	}
	// Do says what stands in the way.
	return p.reachHost(ctx, c, p.guest(c, m)) == nil, nil
}

// StartMachine powers the member's machine on, and returns when commands can
// be run there. A saved image isn't thawed, but thrown away.
func (p *Provider) StartMachine(ctx context.Context, c appliance.Cluster, m appliance.Member, report appliance.Report) error {
	if m.Placement == appliance.PlacementLocal {
		if _, err := p.ensureNetwork(ctx, c); err != nil {
			return err
		}
		return p.cfg.Local.StartMachine(ctx, c, m, report)
	}
	return p.ensureMachine(ctx, c, m, report)
}

// StopMachine powers the machine off: by its own means, and after two minutes
// by ours, since PostgreSQL has been stopped. A repeat does nothing. A machine
// that libvirt doesn't know has stopped only if no QEMU process of it is left.
func (p *Provider) StopMachine(ctx context.Context, c appliance.Cluster, m appliance.Member) error {
	if m.Placement == appliance.PlacementLocal {
		return p.cfg.Local.StopMachine(ctx, c, m)
	}
	d, err := p.domainOf(ctx, c.UUID, m)
	if errors.Is(err, rpc.ErrNotFound) {
		return proveEnded(m)
	}
	if err != nil {
		return err
	}
	if err := p.powerOff(ctx, d.UUID, p.guest(c, m)); err != nil {
		return err
	}
	return p.virt.RemoveManagedSave(ctx, d.UUID)
}

func (p *Provider) powerOff(ctx context.Context, domain string, g *guest) error {
	limited, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	asked := false
	err := poll(limited, func(limited context.Context) (bool, error) {
		d, err := p.virt.Domain(limited, domain)
		if errors.Is(err, rpc.ErrNotFound) {
			return true, nil
		}
		if err != nil || d.State.Off() || d.State != rpc.DomainRunning {
			return err == nil && d.State.Off(), err
		}
		if !asked {
			asked = true
			p.askOff(limited, domain, g)
		}
		return false, nil
	})
	if client, e := g.ssh(ctx); e == nil {
		client.Drop()
	}
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return p.virt.DestroyDomain(ctx, domain)
	}
	return err
}

// askOff asks the guest over SSH, and by its power button where that fails.
func (p *Provider) askOff(ctx context.Context, domain string, g *guest) {
	ctx, cancel := context.WithTimeout(ctx, detachLimit)
	defer cancel()
	if _, err := g.root(ctx, `exec systemctl poweroff --no-block`); err != nil {
		_ = p.virt.ShutdownDomain(ctx, domain) // a deaf guest is ended later
	}
}
