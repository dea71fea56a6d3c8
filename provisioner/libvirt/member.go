package libvirt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ssh"
	"pgapp/appliance/wait"
	"pgapp/provisioner/libvirt/rpc"
)

// detachLimit is how long a guest gets to let go of the seed's disk.
const detachLimit = 10 * time.Second

func (p *Provider) memberSpec(c appliance.Cluster, m appliance.Member) machineSpec {
	t := memberTag(c, m.Name)
	return machineSpec{
		Tag: t, Name: m.Domain, UUID: m.UUID, MAC: m.MAC, Network: networkName(c.Spec),
		VCPUs: c.Spec.VCPUs, MemoryMiB: c.Spec.MemoryMiB,
		Root: poolPath + "/" + volumeName(t, volRoot), Console: poolPath + "/" + volumeName(t, volConsole), Cache: cacheRun,
	}
}

// ensureMachine starts the member's machine and returns when commands can run
// on it. On its first boot the machine gets its identity from a seed, which is
// then removed. If the primary is on the host, the connection to it is tested.
func (p *Provider) ensureMachine(ctx context.Context, c appliance.Cluster, m appliance.Member, report appliance.Report) error {
	defer p.machines.bringUp(m.UUID)()
	if err := p.disks.ensurePool(ctx); err != nil {
		return err
	}
	net, err := p.networks.ensureNetwork(ctx, c)
	if err != nil {
		return err
	}
	if err := checkAddress(c, m, net); err != nil {
		return err
	}
	spec := p.memberSpec(c, m)
	state, d, err := p.machines.root(ctx, c, m)
	if err != nil {
		return err
	}
	if state != rootThere {
		return diskGone(c, m)
	}
	if d.Name != "" {
		spec.Name = d.Name // which a user may have changed
	}
	if err := p.networks.reserve(ctx, spec.Network, spec.Tag, m.MAC, m.Host); err != nil {
		return err
	}
	settled := d.Name != "" && !hasSeed(d.XML, spec.Tag)
	g := p.guest(c, m)
	client, err := g.ssh(ctx)
	if err != nil {
		return err
	}
	b := boot{spec: spec, accel: c.Spec.Accel, guest: g, primary: m.Name == c.Primary, client: client, report: report}
	if !settled {
		b.seed = func(ctx context.Context) (string, error) { return p.memberSeed(ctx, c, m, net) }
	}
	how, err := p.machines.up(ctx, b)
	if err == nil && !settled {
		err = p.machines.settle(ctx, g, spec, c.Spec.Locale, report)
	}
	if err != nil {
		// A running machine's missing disk shows only at its next start.
		if state, _, e := p.machines.root(ctx, c, m); e == nil && state == rootGone {
			err = diskGone(c, m)
		}
		return errors.Join(err, p.disks.dropIdleSeed(ctx, spec))
	}
	report(appliance.Progress{Detail: how})
	return p.reachHost(ctx, c, g)
}

// dropIdleSeed deletes the seed, which holds a private key, unless a running
// machine may still need it. The next start makes a new seed.
func (ds *disks) dropIdleSeed(ctx context.Context, spec machineSpec) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), busyLimit)
	defer cancel()
	d, err := ds.virt.Domain(ctx, spec.Name)
	if err == nil && !d.State.Off() {
		return nil
	}
	if err != nil && !errors.Is(err, rpc.ErrNotFound) {
		return err
	}
	return ds.dropVolume(ctx, volumeName(spec.Tag, volSeed))
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
	return p.seeds.upload(ctx, memberTag(c, m.Name), id, m.Host, net)
}

// upload makes a machine's seed and uploads it, over an older one.
func (sd *seeds) upload(ctx context.Context, t tag, id identity, address string, net subnet) (string, error) {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return "", fmt.Errorf("the address of %q: %w", t.Member, err)
	}
	id.Address, id.Gateway = netip.PrefixFrom(addr, net.Host.Bits()), net.Host.Addr()
	if id.HostPublic, err = ssh.PublicKey(id.HostKey); err != nil {
		return "", fmt.Errorf("the host key of %q: %w", t.Member, err)
	}
	files, err := id.documents(sd.documents)
	if err != nil {
		return "", err
	}
	img, err := files.image(sd.tempDir)
	if err != nil {
		return "", err
	}
	name := volumeName(t, volSeed)
	if err := sd.disks.upload(ctx, rawVolume(name, uint64(len(img))), bytes.NewReader(img), int64(len(img))); err != nil {
		return "", err
	}
	v, err := sd.disks.virt.Volume(ctx, poolName, name)
	return v.Path, err
}

// settle checks that the guest took its identity, gives it the cluster's
// locale, keeps cloud-init from ever running again, and removes the seed and
// its copies.
func (mc *machines) settle(ctx context.Context, g *guest, spec machineSpec, locale string, report appliance.Report) error {
	report(appliance.Progress{Detail: "waiting for cloud-init"})
	if err := mc.cloudInit(ctx, g); err != nil {
		return err
	}
	if _, err := g.root(ctx, settleScript, memberDir, serverUnit, serverUnitText(g.Layout()), locale); err != nil {
		return fmt.Errorf("settling %q: %w", g.member.Name, err)
	}
	return mc.dropSeed(ctx, spec)
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

// cloudInit waits for cloud-init and checks its result. After pgapp has
// disabled cloud-init it returns at once.
func (mc *machines) cloudInit(ctx context.Context, g *guest) error {
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
	if lines := mc.console(ctx, volumeName(tag{UUID: g.uuid, Cluster: g.cluster, Member: g.member.Name}, volConsole)); lines != "" {
		known = known.WithDetail(known.Detail + "\nthe console's last lines:\n" + lines)
	}
	if g.member.Name == builder { // which is removed, whatever becomes of it
		return known.WithHint("the unmodified image fails: boot it by hand, or choose another with --image")
	}
	return known.WithHint("see /var/log/cloud-init.log in the guest: virsh console %s", g.member.Domain)
}

// judgeCloudInit reads cloud-init's status. Exit code 2 reports a recoverable
// error, such as a deprecated key.
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

// dropSeed detaches the seed's disk and deletes it.
func (mc *machines) dropSeed(ctx context.Context, spec machineSpec) error {
	path := seedPath(spec.Tag)
	if err := mc.virt.DetachDisk(ctx, spec.Name, path); err != nil {
		return err
	}
	// A guest that keeps the disk loses it with its next start.
	limited, cancel := context.WithTimeout(ctx, detachLimit)
	defer cancel()
	_ = wait.Until(limited, pollEvery, func(ctx context.Context) (bool, error) {
		x, err := mc.virt.LiveDomain(ctx, spec.Name)
		_, has := rpc.DiskOf(x, path)
		return err == nil && !has, nil
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return mc.disks.dropVolume(ctx, volumeName(spec.Tag, volSeed))
}

// machineReady tells whether ensureMachine has nothing to do. It also tests the
// connection to the host, which a firewall may still block when the user
// retries.
func (p *Provider) machineReady(ctx context.Context, c appliance.Cluster, m appliance.Member) (bool, error) {
	d, err := p.machines.domainOf(ctx, c.UUID, m)
	if errors.Is(err, rpc.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if d.State != rpc.DomainRunning || d.Thawed() || hasSeed(d.XML, memberTag(c, m.Name)) {
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
// run there. Saved memory is discarded, not restored.
func (p *Provider) StartMachine(ctx context.Context, c appliance.Cluster, m appliance.Member, report appliance.Report) error {
	if m.Placement == appliance.PlacementLocal {
		net, err := p.networks.ensureNetwork(ctx, c)
		if err == nil {
			err = checkAddress(c, m, net)
		}
		if err != nil {
			return err
		}
		return p.cfg.Local.StartMachine(ctx, c, m, report)
	}
	return p.ensureMachine(ctx, c, m, report)
}
