package libvirt

import (
	"context"
	"io/fs"
	"sync"

	"pgapp/appliance"
	"pgapp/appliance/wait"
	"pgapp/provisioner/libvirt/image"
	"pgapp/provisioner/libvirt/rpc"
)

// turns lets one caller at a time make what several members share: an image, by
// its volume's name, the pool, the network.
type turns struct{ building wait.Turns }

// acceleration decides between KVM and emulation.
type acceleration struct {
	virt capabilityCalls

	mu sync.Mutex
	// noKVM says why this host's KVM can't run guests, once a guest has failed.
	noKVM string
}

// disks are the volumes of pgapp's pool, with the files and domains that depend
// on them.
type disks struct {
	cfg  *Config
	virt struct {
		poolCalls
		volumeCalls
		domainLookup
	}
	turns *turns
}

// networks are libvirt's networks, with the addresses reserved in them.
type networks struct {
	virt struct {
		networkCalls
		domainLookup
	}
	turns *turns
}

// machines are libvirt's domains: they are found, defined, started and ended here.
type machines struct {
	cfg  *Config
	virt struct {
		domainLookup
		powerCalls
		definitionCalls
		deviceCalls
	}
	accel *acceleration
	disks *disks

	mu sync.Mutex
	// booting counts, by UUID, the callers that boot a machine now.
	booting map[string]int
}

// imaging keeps images in the pool: fetched bases, and golden images.
type imaging struct {
	images *image.Store
	disks  *disks
	turns  *turns
}

// seeds makes cloud-init's seeds.
type seeds struct {
	documents fs.FS
	tempDir   string
	disks     *disks
}

// remover removes members' machines.
type remover struct {
	host     Host
	machines *machines
	disks    *disks
	networks *networks
}

// checks are doctor's checks.
type checks struct {
	cfg  *Config
	virt struct {
		hostCalls
		trialCalls
	}
	accel    *acceleration
	disks    *disks
	networks *networks
}

// trialCalls watch and end the trial machine.
type trialCalls interface {
	Domain(ctx context.Context, name string) (rpc.Domain, error)
	DestroyDomain(ctx context.Context, name string) error
}

// assemble puts the provider's parts together over a libvirt.
func assemble(cfg Config, virt hypervisor) *Provider {
	if cfg.BootLimit == 0 {
		cfg.BootLimit = defaultBootLimit
	}
	if cfg.BuildLimit == 0 {
		cfg.BuildLimit = defaultBuildLimit
	}
	if cfg.stopLimit == 0 {
		cfg.stopLimit = stopLimit
	}
	p := &Provider{cfg: &cfg, turns: &turns{}, guests: map[string]*guest{}, closeConn: func() {}}
	p.accel = &acceleration{virt: virt}
	p.disks = &disks{cfg: p.cfg, turns: p.turns}
	p.disks.virt.poolCalls, p.disks.virt.volumeCalls, p.disks.virt.domainLookup = virt, virt, virt
	p.networks = &networks{turns: p.turns}
	p.networks.virt.networkCalls, p.networks.virt.domainLookup = virt, virt
	p.machines = &machines{cfg: p.cfg, accel: p.accel, disks: p.disks, booting: map[string]int{}}
	m := &p.machines.virt
	m.domainLookup, m.powerCalls, m.definitionCalls, m.deviceCalls = virt, virt, virt, virt
	p.imaging = &imaging{images: image.NewStore(cfg.ImageDir), disks: p.disks, turns: p.turns}
	p.seeds = &seeds{documents: cfg.Documents, tempDir: cfg.TempDir, disks: p.disks}
	p.remover = &remover{host: cfg.Host, machines: p.machines, disks: p.disks, networks: p.networks}
	p.checks = &checks{cfg: p.cfg, accel: p.accel, disks: p.disks, networks: p.networks}
	p.watching = &watching{host: cfg.Host, machines: p.machines, virt: virt}
	p.checks.virt.hostCalls, p.checks.virt.trialCalls = virt, virt
	return p
}

// newBuild starts the making of the golden image in the volume.
func (p *Provider) newBuild(c appliance.Cluster, volume string, report appliance.Report) *build {
	return &build{
		cfg: p.cfg, turns: p.turns, disks: p.disks, networks: p.networks, machines: p.machines, seeds: p.seeds, remover: p.remover,
		c: c, volume: volume, report: report,
	}
}

// newGuest makes a member's machine.
func (p *Provider) newGuest(c appliance.Cluster, m appliance.Member) *guest {
	return &guest{secrets: p.cfg.Secrets, host: p.cfg.Host, machines: p.machines, cluster: c.Name, uuid: c.UUID, member: m}
}

// newAllocation starts an allocation in the network.
func (p *Provider) newAllocation(r appliance.AllocateRequest, net rpc.Network, s subnet) *allocation {
	return &allocation{
		r: r, net: net, subnet: s, host: p.cfg.Host.Network, local: p.cfg.Local, networks: p.networks, machines: p.machines,
	}
}
