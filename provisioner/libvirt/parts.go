package libvirt

import (
	"sync"

	"pgapp/appliance/wait"
	"pgapp/provisioner/libvirt/image"
)

// turns gives each thing that several members need and one makes to one caller
// at a time: an image by its volume's name, the pool, the network.
type turns struct{ building wait.Turns }

// acceleration decides between KVM and emulation.
type acceleration struct {
	virt deviceCalls

	mu sync.Mutex
	// noKVM says why this host's KVM can't run guests, once that was seen.
	noKVM string
}

// disks are the volumes of pgapp's pool, and what leans on them.
type disks struct {
	cfg  *Config
	virt struct {
		poolCalls
		volumeCalls
		hostCalls
		domainCalls
	}
	turns *turns
}

// networks are libvirt's networks, with the addresses reserved in them.
type networks struct {
	virt struct {
		networkCalls
		domainCalls
	}
	turns *turns
}

// machines are libvirt's domains: how they are found, defined, started and ended.
type machines struct {
	cfg  *Config
	virt struct {
		domainCalls
		definitionCalls
		deviceCalls
		volumeCalls
		poolCalls
	}
	accel *acceleration

	mu sync.Mutex
	// booting counts by UUID who brings a machine up at the moment.
	booting map[string]int
}

// imaging keeps images in the pool: bases as they were fetched, and golden ones.
type imaging struct {
	virt   volumeCalls
	images *image.Store
	disks  *disks
	turns  *turns
}

// checks are what doctor looks at.
type checks struct {
	cfg  *Config
	virt struct {
		deviceCalls
		domainCalls
		networkCalls
		poolCalls
		hostCalls
	}
	accel    *acceleration
	networks *networks
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
	p := &Provider{cfg: &cfg, virt: virt, turns: &turns{}, guests: map[string]*guest{}, closeConn: func() {}}
	p.accel = &acceleration{virt: virt}
	p.disks = &disks{cfg: p.cfg, turns: p.turns}
	p.disks.virt.poolCalls, p.disks.virt.volumeCalls, p.disks.virt.hostCalls, p.disks.virt.domainCalls = virt, virt, virt, virt
	p.networks = &networks{turns: p.turns}
	p.networks.virt.networkCalls, p.networks.virt.domainCalls = virt, virt
	p.machines = &machines{cfg: p.cfg, accel: p.accel, booting: map[string]int{}}
	m := &p.machines.virt
	m.domainCalls, m.definitionCalls, m.deviceCalls, m.volumeCalls, m.poolCalls = virt, virt, virt, virt, virt
	p.imaging = &imaging{virt: virt, images: image.NewStore(cfg.ImageDir), disks: p.disks, turns: p.turns}
	p.checks = &checks{cfg: p.cfg, accel: p.accel, networks: p.networks}
	c := &p.checks.virt
	c.deviceCalls, c.domainCalls, c.networkCalls, c.poolCalls, c.hostCalls = virt, virt, virt, virt, virt
	return p
}
