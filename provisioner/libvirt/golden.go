package libvirt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"pgapp/appliance"
	"pgapp/appliance/ssh"
	"pgapp/appliance/wait"
	"pgapp/provisioner/libvirt/rpc"
)

const (
	// recipe is counted up with every change of the scripts, so that older
	// golden images aren't used for new clusters.
	recipe   = "6"
	packages = "postgresql-17 locales"
	// builder is the name of the machine that becomes the image.
	builder = "golden"
	// roomToInstall is added to the base image's capacity.
	roomToInstall    = 1 << 30
	builderMemoryMiB = 1024
	builderVCPUs     = 2
	sealDone         = "pgapp-seal: done"
	sealUnit         = "pgapp-seal"
)

// goldenName names the volume that the current recipe makes from the base of
// that digest.
func goldenName(digest string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{digest, packages, recipe}, "\n")))
	return "golden-" + hex.EncodeToString(sum[:])[:digestLength] + ".qcow2"
}

// golden looks for the complete golden image of the spec.
func (im *imaging) golden(ctx context.Context, s appliance.Spec) (rpc.Volume, bool, error) {
	digest, err := im.imageDigest(ctx, s)
	if err != nil {
		return rpc.Volume{}, false, err
	}
	return im.disks.complete(ctx, goldenName(digest))
}

// ensureGolden makes the golden image unless it exists: it boots a machine from
// the base, installs PostgreSQL in it, and removes the machine's identity.
func (p *Provider) ensureGolden(ctx context.Context, c appliance.Cluster, report appliance.Report) error {
	if err := p.disks.ensurePool(ctx); err != nil {
		return err
	}
	digest, err := p.imaging.imageDigest(ctx, c.Spec)
	if err != nil {
		return err
	}
	name := goldenName(digest)
	b := p.newBuild(c, name, report)
	release, err := b.turn(ctx)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeoutCause(ctx, p.cfg.BuildLimit, errors.New("building the golden image took too long"))
	defer cancel()
	if _, ok, err := p.disks.complete(ctx, name); err != nil || ok {
		return err
	}
	if ok, err := b.adopt(ctx, baseName(digest)); err != nil || ok {
		return err
	}
	base, ok, err := p.imaging.base(ctx, digest)
	if err != nil {
		return err
	}
	if !ok {
		return appliance.NewProblem(appliance.ErrImageMissing, "the base image of %s is gone", c.Spec.Image).
			WithHint("run the same command again: it uploads the image again")
	}
	if err := p.imaging.proveBase(ctx, digest, base, report); err != nil {
		return err
	}
	if err := b.clear(ctx); err != nil {
		return err
	}
	err = b.run(ctx, base)
	clean, stop := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer stop()
	return errors.Join(err, b.clear(clean))
}

// build makes a golden image once.
type build struct {
	cfg      *Config
	turns    *turns
	disks    *disks
	networks *networks
	machines *machines
	seeds    *seeds
	remover  *remover

	c      appliance.Cluster
	volume string
	report appliance.Report
	guest  *guest
	spec   machineSpec
}

func (b *build) tag() tag { return memberTag(b.c, builder) }

// turn waits until no other cluster builds the image. A builder that a killed
// daemon left running is removed by its own cluster, in its own turn.
func (b *build) turn(ctx context.Context) (release func(), err error) {
	for {
		if err := b.awaitOthers(ctx); err != nil {
			return nil, err
		}
		release, err := b.turns.turn(ctx, b.volume)
		if err != nil {
			return nil, err
		}
		d, found, err := b.otherBuilder(ctx)
		if err == nil && (!found || d.State.Off()) {
			return release, nil
		}
		release()
		if err != nil {
			return nil, err
		}
	}
}

var errOtherBuilder = errors.New("another cluster's machine builds the same image")

// awaitOthers waits while another cluster's builder writes the image: building
// it again would replace the disk of a running machine. A builder that stays
// off was left behind.
func (b *build) awaitOthers(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, b.cfg.BuildLimit, errOtherBuilder)
	defer cancel()
	var offSince time.Time
	var d rpc.Domain
	err := wait.Until(ctx, pollEvery, func(ctx context.Context) (bool, error) {
		var found bool
		var err error
		d, found, err = b.otherBuilder(ctx)
		if err != nil || !found {
			return err == nil, err
		}
		b.report(appliance.Progress{Detail: fmt.Sprintf("waiting for domain %q, which builds the same image", d.Name)})
		switch {
		case !d.State.Off():
			offSince = time.Time{}
		case offSince.IsZero():
			offSince = time.Now()
		}
		return !offSince.IsZero() && time.Since(offSince) > busyLimit, nil
	})
	if errors.Is(err, errOtherBuilder) {
		t, _ := domainTag(d.XML)
		return appliance.NewProblem(appliance.ErrImageBuild, "domain %q builds the same golden image and did not finish within %s", d.Name, b.cfg.BuildLimit).
			WithHint("if that cluster's home is lost, remove it: pgapp down --by-tag %s --volumes", t.UUID)
	}
	return err
}

// otherBuilder finds another cluster's domain whose disk is the image.
func (b *build) otherBuilder(ctx context.Context) (d rpc.Domain, found bool, err error) {
	return b.machines.otherWith(ctx, poolPath+"/"+b.volume, b.c.UUID)
}

// clear removes the builder, and the volume unless it is complete or in use.
func (b *build) clear(ctx context.Context) error {
	if err := b.remover.removeMachine(ctx, b.c, builder, b.report); err != nil {
		return err
	}
	v, ok, err := b.disks.complete(ctx, b.volume)
	if err != nil || ok {
		return err
	}
	if by, err := b.disks.usersOf(ctx, v); err != nil || len(by) > 0 {
		return err
	}
	return b.disks.dropVolume(ctx, b.volume)
}

func (b *build) run(ctx context.Context, base rpc.Volume) error {
	net, err := b.networks.ensureNetwork(ctx, b.c)
	if err != nil {
		return err
	}
	root, err := b.disks.ensureClone(ctx, b.volume, base, base.Capacity+roomToInstall)
	if err != nil {
		return err
	}
	if err := b.prepare(ctx, root, net); err != nil {
		return err
	}
	defer b.guest.close()
	how, err := b.machines.up(ctx, boot{spec: b.spec, accel: b.c.Spec.Accel, guest: b.guest, client: b.guest.client, report: b.report})
	if err != nil {
		return err
	}
	b.report(appliance.Progress{Detail: how})
	if err := b.machines.cloudInit(ctx, b.guest); err != nil {
		return err
	}
	if err := b.install(ctx); err != nil {
		return err
	}
	if err := b.seal(ctx); err != nil {
		return err
	}
	b.report(appliance.Progress{Detail: how})
	return b.disks.markComplete(ctx, b.volume)
}

// prepare chooses the builder's address and makes its keys, which are used
// once.
func (b *build) prepare(ctx context.Context, root rpc.Volume, s subnet) error {
	id := uuid.New()
	m := appliance.Member{
		Name: builder, Placement: appliance.PlacementVM, UUID: id.String(), Domain: domainName(b.c.Name, builder),
		MAC: fmt.Sprintf("52:54:00:%02x:%02x:%02x", id[0], id[1], id[2]),
	}
	var err error
	if m.Host, err = b.address(ctx, s); err != nil {
		return err
	}
	user, err := ssh.GenerateKey(builder)
	if err != nil {
		return err
	}
	host, err := ssh.GenerateKey(builder)
	if err != nil {
		return err
	}
	userPublic, err := ssh.PublicKey(user)
	if err != nil {
		return err
	}
	hostPublic, err := ssh.PublicKey(host)
	if err != nil {
		return err
	}
	client, err := ssh.New(ssh.Config{Address: net.JoinHostPort(m.Host, "22"), User: guestUser, Key: user, HostKey: hostPublic, Dial: b.cfg.Host.Network.Dial})
	if err != nil {
		return err
	}
	b.guest = &guest{secrets: b.cfg.Secrets, host: b.cfg.Host, machines: b.machines, cluster: b.c.Name, uuid: b.c.UUID, member: m, client: client}
	if err := b.networks.reserve(ctx, networkName(b.c.Spec), b.tag(), m.MAC, m.Host); err != nil {
		return err
	}
	seed, err := b.seeds.upload(ctx, b.tag(), identity{InstanceID: m.UUID, Hostname: "localhost", MAC: m.MAC, UserKey: userPublic, HostKey: host}, m.Host, s)
	if err != nil {
		return err
	}
	b.spec = machineSpec{
		Tag: b.tag(), Name: m.Domain, UUID: m.UUID, MAC: m.MAC, Network: networkName(b.c.Spec),
		VCPUs: builderVCPUs, MemoryMiB: builderMemoryMiB, Root: root.Path, Seed: seed,
		Console: poolPath + "/" + volumeName(b.tag(), volConsole), Cache: cacheBuild,
	}
	return nil
}

// address returns the network's last free address: members take the first ones.
func (b *build) address(ctx context.Context, s subnet) (string, error) {
	n, err := b.networks.existing(ctx, networkName(b.c.Spec))
	if err != nil {
		return "", err
	}
	r := appliance.AllocateRequest{Spec: b.c.Spec, Cluster: b.c.Name, UUID: b.c.UUID, Existing: b.c.Members}
	a := allocation{networks: b.networks, r: r, net: n, subnet: s}
	if err := a.collect(ctx); err != nil {
		return "", err
	}
	for i := s.size() - 1; i > 0; i-- {
		addr := s.at(i)
		if s.contains(addr) && a.taken[addr] == "" && len(aliveHosts(ctx, b.cfg.Host.Network, []netip.Addr{addr})) == 0 {
			return addr.String(), ctx.Err()
		}
	}
	return "", appliance.NewProblem(appliance.ErrHostAddressTaken, "network %q has no free address left to build the golden image", n.Name)
}

// install runs the script as a unit, and reports its lines as progress.
func (b *build) install(ctx context.Context) error {
	path, err := b.place(ctx, "install.sh")
	if err != nil {
		return err
	}
	err = b.guest.client.RunUnit(ctx, ssh.Unit{
		Name: "pgapp-install.service", Argv: []string{"sh", path},
		Env: map[string]string{"PGAPP_PACKAGES": packages, "PGAPP_MIRROR": b.c.Spec.AptMirror, "PGAPP_PROXY": b.c.Spec.AptProxy},
	}, func(line string) { b.report(appliance.Progress{Detail: printable([]byte(line))}) })
	var exit *appliance.ExitError
	if errors.As(err, &exit) {
		return appliance.NewProblem(appliance.ErrImageBuild, "installing PostgreSQL 17 in the image failed: %w", err).
			WithHint("the guest has to reach a package mirror: see 'pgapp doctor', or choose one with --apt-mirror").
			WithDetail(appliance.LastLines(printable([]byte(exit.Stderr)), consoleLines))
	}
	return err
}

// place writes one of our scripts into the guest's /run, which lasts until its
// next boot.
func (b *build) place(ctx context.Context, script string) (string, error) {
	text, err := fs.ReadFile(b.cfg.Documents, script)
	if err != nil {
		return "", fmt.Errorf("reading the script: %w", err)
	}
	path := "/run/pgapp-" + script
	return path, b.guest.client.As("root").WriteFile(ctx, path, text, 0o600)
}

// seal removes the guest's identity and powers it off; only the console tells
// whether the script finished.
func (b *build) seal(ctx context.Context) error {
	b.report(appliance.Progress{Detail: "sealing the image"})
	path, err := b.place(ctx, "seal.sh")
	if err != nil {
		return err
	}
	if _, err := b.guest.root(ctx, `exec systemd-run --quiet --unit "$1" sh "$2"`, sealUnit, path); err != nil {
		return fmt.Errorf("sealing the image: %w", err)
	}
	err = wait.Until(ctx, pollEvery, func(ctx context.Context) (bool, error) {
		d, err := b.machines.named(ctx, b.spec.Name)
		return err == nil && d.State.Off(), err
	})
	if err != nil {
		return fmt.Errorf("waiting for the image to be sealed: %w", err)
	}
	text := b.disks.consoleText(ctx, volumeName(b.tag(), volConsole))
	if !strings.Contains(text, sealDone) {
		return appliance.NewProblem(appliance.ErrImageBuild, "the machine powered off before the image was sealed").WithDetail(appliance.LastLines(text, consoleLines))
	}
	return nil
}
