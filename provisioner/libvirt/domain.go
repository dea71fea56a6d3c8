package libvirt

import (
	"libvirt.org/go/libvirtxml"

	"pgapp/provisioner/libvirt/rpc"
)

const (
	rootTarget = "vda"
	seedTarget = "vdb"
	typeKVM    = "kvm"
	typeTCG    = "qemu"
	// cacheRun bypasses the host's page cache; cacheBuild uses it but honours
	// the guest's flushes, which is quicker and still safe.
	cacheRun = "none"
	// tcgCacheMiB limits emulation's cache, on top of the guest's memory;
	// QEMU's default is up to 1 GiB.
	tcgCacheMiB = 256
	cacheBuild  = "writeback"
)

// machineSpec describes one domain.
type machineSpec struct {
	Tag       tag
	Name      string
	UUID      string
	MAC       string
	Network   string
	VCPUs     int
	MemoryMiB int
	// Root is the path of the disk, Seed of the seed or empty, Console of the
	// file that takes the serial console.
	Root, Seed, Console string
	Cache               string
	// Type is kvm or qemu.
	Type string
	// EFI boots by UEFI firmware; else by BIOS.
	EFI bool
}

// domain builds the definition.
func (m machineSpec) domain() (libvirtxml.Domain, error) {
	t := m.Tag
	t.Domain = m.UUID
	meta, err := t.marshal()
	if err != nil {
		return libvirtxml.Domain{}, err
	}
	d := libvirtxml.Domain{
		Type: m.Type, Name: m.Name, UUID: m.UUID,
		Metadata:   &libvirtxml.DomainMetadata{XML: meta},
		Memory:     &libvirtxml.DomainMemory{Value: uint(m.MemoryMiB), Unit: "MiB"},
		VCPU:       &libvirtxml.DomainVCPU{Placement: "static", Value: uint(m.VCPUs)},
		OS:         m.os(),
		Features:   features(m.Type),
		CPU:        cpu(m.Type),
		Clock:      &libvirtxml.DomainClock{Offset: "utc"},
		OnPoweroff: "destroy", OnReboot: "restart", OnCrash: "destroy",
		Devices: m.devices(),
	}
	return d, nil
}

func features(domainType string) *libvirtxml.DomainFeatureList {
	f := &libvirtxml.DomainFeatureList{ACPI: &libvirtxml.DomainFeature{}, APIC: &libvirtxml.DomainFeatureAPIC{}}
	if domainType == typeTCG {
		f.TCG = &libvirtxml.DomainFeatureTCG{TBCache: &libvirtxml.DomainFeatureTCGTBCache{Unit: "MiB", Size: tcgCacheMiB}}
	}
	return f
}

func (m machineSpec) os() *libvirtxml.DomainOS {
	o := &libvirtxml.DomainOS{Type: &libvirtxml.DomainOSType{Arch: "x86_64", Machine: "q35", Type: "hvm"}}
	if m.EFI {
		o.Firmware = "efi"
		o.FirmwareInfo = &libvirtxml.DomainOSFirmwareInfo{Features: []libvirtxml.DomainOSFirmwareFeature{
			{Enabled: "no", Name: "enrolled-keys"},
			{Enabled: "no", Name: "secure-boot"},
		}}
	} else {
		o.BootDevices = []libvirtxml.DomainBootDevice{{Dev: "hd"}}
	}
	return o
}

// cpu gives the guest every feature of the accelerator: members don't migrate.
func cpu(domainType string) *libvirtxml.DomainCPU {
	if domainType == typeKVM {
		return &libvirtxml.DomainCPU{Mode: "host-passthrough"}
	}
	return &libvirtxml.DomainCPU{Mode: "maximum"}
}

func (m machineSpec) devices() *libvirtxml.DomainDeviceList {
	disks := []libvirtxml.DomainDisk{m.rootDisk()}
	if m.Seed != "" {
		disks = append(disks, seedDisk(m.Seed, seedTarget))
	}
	port := uint(0)
	return &libvirtxml.DomainDeviceList{
		Disks: disks,
		Interfaces: []libvirtxml.DomainInterface{{
			MAC:    &libvirtxml.DomainInterfaceMAC{Address: m.MAC},
			Source: &libvirtxml.DomainInterfaceSource{Network: &libvirtxml.DomainInterfaceSourceNetwork{Network: m.Network}},
			Model:  &libvirtxml.DomainInterfaceModel{Type: "virtio"},
		}},
		Serials: []libvirtxml.DomainSerial{{
			Source: &libvirtxml.DomainChardevSource{Pty: &libvirtxml.DomainChardevSourcePty{}},
			Target: &libvirtxml.DomainSerialTarget{Port: &port},
			Log:    &libvirtxml.DomainChardevLog{File: m.Console, Append: "off"},
		}},
		RNGs: []libvirtxml.DomainRNG{{
			Model:   "virtio",
			Backend: &libvirtxml.DomainRNGBackend{Random: &libvirtxml.DomainRNGBackendRandom{Device: "/dev/urandom"}},
		}},
		MemBalloon: &libvirtxml.DomainMemBalloon{Model: "none"},
		// Without it a guest whose kernel panicked runs on and answers nobody; with it
		// on_crash ends the domain, and libvirt tells.
		Panics: []libvirtxml.DomainPanic{{Model: "isa"}},
	}
}

// disk names a file, because AppArmor's helper can't resolve volumes.
func disk(path, target string) libvirtxml.DomainDisk {
	return libvirtxml.DomainDisk{
		Device: "disk",
		Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: path}},
		Target: &libvirtxml.DomainDiskTarget{Dev: target, Bus: "virtio"},
	}
}

func (m machineSpec) rootDisk() libvirtxml.DomainDisk {
	root := disk(m.Root, rootTarget)
	root.Driver = &libvirtxml.DomainDiskDriver{Name: "qemu", Type: "qcow2", Cache: m.Cache, Discard: "unmap"}
	return root
}

// seedDisk uses the root disk's driver: small kernels have no CD-ROM driver,
// and others find a CD-ROM too late.
func seedDisk(path, target string) libvirtxml.DomainDisk {
	d := disk(path, target)
	d.Driver = &libvirtxml.DomainDiskDriver{Name: "qemu", Type: "raw"}
	d.ReadOnly = &libvirtxml.DomainDiskReadOnly{}
	return d
}

// hasSeed tells whether the definition still has the member's seed. It compares
// the file: another disk may have the seed's target name.
func hasSeed(x libvirtxml.Domain, t tag) bool {
	_, ok := rpc.DiskOf(x, seedPath(t))
	return ok
}

func seedPath(t tag) string { return poolPath + "/" + volumeName(t, volSeed) }
