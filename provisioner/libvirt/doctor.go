package libvirt

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/doctor"
	"pgapp/provisioner/libvirt/rpc"
)

const (
	// doctorLimit limits one check; a libvirt that hangs is a finding.
	doctorLimit = 30 * time.Second
	kvmDevice   = "/dev/kvm"
	// tcgMiB is the memory for emulation's cache, on top of the guest's memory.
	tcgMiB = tcgCacheMiB
	// grownMiB is the size of a member's disk with the data set loaded.
	grownMiB = 1024
)

// Doctor checks what the spec needs of this host. It changes nothing, but runs
// a machine without a disk for a second to try KVM.
func (p *Provider) Doctor(ctx context.Context, s appliance.Spec) []appliance.Finding {
	ctx, cancel := context.WithTimeout(ctx, doctorLimit)
	defer cancel()
	out := []appliance.Finding{p.checks.socketFinding(ctx)}
	if out[0].Level == appliance.LevelFail {
		return append(out, doctor.Found("libvirt-rest", appliance.LevelSkip, "libvirt doesn't answer, so its other checks are skipped"))
	}
	out = append(out, p.checks.accelFindings(ctx, s)...)
	out = append(out,
		p.checks.networkFinding(ctx, s),
		p.checks.poolFinding(ctx, s),
		p.checks.memoryFinding(ctx, s),
		imageFinding(s),
		guestsFinding(p.cfg.Host.Files),
		clockFinding(p.cfg.Host.System),
	)
	return append(out, firewallFindings(ctx, p.cfg.Host.System, s)...)
}

func (ck *checks) socketFinding(ctx context.Context) appliance.Finding {
	const id = "libvirt-socket"
	version, err := ck.virt.Version(ctx)
	if err != nil {
		f := doctor.OfError(id, err)
		if appliance.IsProblem(err, appliance.ErrHostLibvirtPerm) && ck.cfg.Host.System.InGroup("libvirt") {
			f.Fix = "you are in the group libvirt, but this session isn't: log in again"
		}
		return f
	}
	return doctor.Found(id, appliance.LevelPass, "libvirt %s answers", version)
}

// accelFindings checks the device and libvirt's capabilities. Both may be
// wrong: only a guest that runs proves KVM, so a trial machine is run.
func (ck *checks) accelFindings(ctx context.Context, s appliance.Spec) []appliance.Finding {
	level := appliance.LevelWarn
	if s.Accel == appliance.AccelKVM {
		level = appliance.LevelFail
	}
	var out []appliance.Finding
	if _, err := ck.cfg.Host.Files.Stat(kvmDevice); err != nil {
		out = append(out, doctor.Advise(doctor.Found("kvm-device", level, "%s is missing: guests are emulated, many times slower", kvmDevice),
			"enable virtualisation in the firmware (or nested virtualisation), then: sudo modprobe kvm_intel || sudo modprobe kvm_amd"))
	} else {
		out = append(out, doctor.Found("kvm-device", appliance.LevelPass, "%s exists", kvmDevice))
	}
	broken := ck.accel.whyNoKVM()
	_, err := ck.virt.Capabilities(ctx, typeKVM)
	switch {
	case broken != "":
		out = append(out, doctor.Advise(doctor.Found("kvm", level, "%s", broken), "use --accel tcg"))
	case err != nil:
		out = append(out, doctor.Advise(doctor.Found("kvm", level, "libvirt has no KVM: %v", err), "use --accel tcg"))
	case s.Accel == appliance.AccelTCG:
		out = append(out, doctor.Found("kvm", appliance.LevelPass, "libvirt offers KVM, which --accel tcg doesn't use"))
	default:
		out = append(out, ck.trialFinding(ctx, level))
	}
	kind := typeKVM
	if err != nil {
		kind = typeTCG
	}
	return append(out, ck.emulatorFinding(ctx, kind))
}

func (ck *checks) emulatorFinding(ctx context.Context, kind string) appliance.Finding {
	const id = "emulator"
	if _, err := ck.virt.Capabilities(ctx, kind); err != nil {
		return doctor.Advise(doctor.Found(id, appliance.LevelFail, "there is no emulator for x86_64 guests: %v", err), "sudo apt-get install qemu-system-x86")
	}
	efi, err := ck.accel.hasEFI(ctx, kind)
	if err != nil {
		return doctor.OfError(id, err)
	}
	if !efi {
		return doctor.Advise(doctor.Found(id, appliance.LevelWarn, "there is no UEFI firmware: guests boot with BIOS, which some images don't support"), "sudo apt-get install ovmf")
	}
	return doctor.Found(id, appliance.LevelPass, "x86_64 guests with UEFI firmware can run")
}

func (ck *checks) networkFinding(ctx context.Context, s appliance.Spec) appliance.Finding {
	const id = "libvirt-network"
	name := networkName(s)
	n, exists, err := ck.networks.network(ctx, name, tag{})
	if err != nil {
		return doctor.OfError(id, err)
	}
	sub, err := readSubnet(n.XML)
	switch {
	case err != nil:
		return doctor.OfError(id, err)
	case !holds(sub, s.FirstAddress):
		return doctor.Advise(doctor.Found(id, appliance.LevelFail, "network %s has the subnet %s, without first_address %s", name, sub.Host.Masked(), s.FirstAddress),
			"choose a first_address in the subnet, or leave it out")
	case !exists:
		return doctor.Found(id, appliance.LevelPass, "network %s doesn't exist: pgapp makes it, with %s", name, sub.Host.Masked())
	case !n.Active:
		f := doctor.Advise(doctor.Found(id, appliance.LevelWarn, "network %s isn't active; 'pgapp up' starts it", name), "virsh net-start %s", name)
		f.Apply = func(ctx context.Context) error { return ck.networks.start(ctx, name) }
		return f
	}
	return doctor.Found(id, appliance.LevelPass, "network %s is active, %s", name, sub.Host.Masked())
}

func (ck *checks) poolFinding(ctx context.Context, s appliance.Spec) appliance.Finding {
	const id = "libvirt-pool"
	need := uint64(vmCount(s)) * grownMiB << 20
	pool, err := ck.disks.pool(ctx)
	if errors.Is(err, rpc.ErrNotFound) {
		free, err := ck.cfg.Host.Files.FreeBytes("/var/lib/libvirt", "/var/lib", "/")
		if err != nil {
			return doctor.Found(id, appliance.LevelSkip, "the pool doesn't exist yet, and the free space of /var/lib/libvirt can't be read: %v", err)
		}
		pool.Free = free
	} else if err != nil {
		return doctor.OfError(id, err)
	} else if pool.XML.Target == nil || pool.XML.Target.Path != poolPath {
		return doctor.Advise(doctor.Found(id, appliance.LevelFail, "storage pool %q exists, and pgapp did not make it", poolName), "virsh pool-undefine %s, if it isn't needed", poolName)
	} else if !pool.Active {
		f := doctor.Advise(doctor.Found(id, appliance.LevelWarn, "pool %s isn't active; 'pgapp up' starts it", poolName), "virsh pool-start %s", poolName)
		f.Apply = func(ctx context.Context) error { return ck.disks.startPool(ctx) }
		return f
	}
	// libvirt reports a pool's free space as of the last refresh.
	if free, err := ck.cfg.Host.Files.FreeBytes(poolPath); err == nil {
		pool.Free = free
	}
	if pool.Free < need {
		return doctor.Advise(doctor.Found(id, appliance.LevelFail, "%s has %d MiB free; %d VMs with data need about %d", poolPath, pool.Free>>20, vmCount(s), need>>20),
			"free space there, or ask for fewer --standbys")
	}
	return doctor.Found(id, appliance.LevelPass, "disks go to %s, where QEMU may read; %d MiB are free", poolPath, pool.Free>>20)
}

// holds tells whether guests may have the address; "" is any address.
func holds(s subnet, address string) bool {
	a, err := netip.ParseAddr(address)
	return address == "" || err == nil && s.contains(a)
}

// imageFinding reads the head of an image that is a file.
func imageFinding(s appliance.Spec) appliance.Finding {
	const id = "image"
	if !filepath.IsAbs(s.Image) {
		return doctor.Found(id, appliance.LevelPass, "the image %s is fetched unless it is stored already", s.Image)
	}
	f, err := os.Open(s.Image)
	if err != nil {
		return doctor.Advise(doctor.Found(id, appliance.LevelFail, "the image can't be read: %v", err), "choose another with --image")
	}
	defer func() { _ = f.Close() }()
	if _, err := qcow2Capacity(f); err != nil {
		return doctor.OfError(id, err)
	}
	return doctor.Found(id, appliance.LevelPass, "%s is a qcow2 image", s.Image)
}

func vmCount(s appliance.Spec) int {
	n := s.StandbyCount()
	if s.Primary == appliance.PrimaryVM {
		n++
	}
	return n
}

func (ck *checks) memoryFinding(ctx context.Context, s appliance.Spec) appliance.Finding {
	const id = "libvirt-memory"
	free, err := availableMemory(ck.cfg.Host.Files)
	if err != nil {
		free, err = ck.virt.FreeMemory(ctx)
	}
	if err != nil {
		return doctor.OfError(id, err)
	}
	each := s.MemoryMiB
	if s.Accel == appliance.AccelTCG || ck.accel.whyNoKVM() != "" {
		each += tcgMiB
	}
	need := uint64(vmCount(s)*each) << 20
	if free < need {
		return doctor.Advise(doctor.Found(id, appliance.LevelFail, "%d MiB of memory are free; %d VMs of %d MiB need %d", free>>20, vmCount(s), each, need>>20),
			"free memory, or ask for less: --standbys, or memory_mib in the spec")
	}
	return doctor.Found(id, appliance.LevelPass, "%d MiB of memory are free for %d VMs of %d MiB", free>>20, vmCount(s), each)
}

func availableMemory(files Files) (uint64, error) {
	text, err := readFile(files, "/proc/meminfo")
	if err != nil {
		return 0, err
	}
	return doctor.AvailableBytes(text)
}

// guestsFinding checks libvirt-guests, which saves guests when the host goes
// down and resumes them when it comes up, even those without autostart.
func guestsFinding(files Files) appliance.Finding {
	const id = "libvirt-guests"
	const unit = "/etc/systemd/system/multi-user.target.wants/libvirt-guests.service"
	if _, err := files.Stat(unit); err != nil {
		return doctor.Found(id, appliance.LevelPass, "libvirt-guests isn't enabled")
	}
	for _, file := range []string{"/etc/default/libvirt-guests", "/etc/sysconfig/libvirt-guests"} {
		text, err := readFile(files, file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), "ON_SHUTDOWN="); ok && strings.Trim(v, `"'`) == "shutdown" {
				return doctor.Found(id, appliance.LevelPass, "libvirt-guests shuts guests down with the host")
			}
		}
	}
	return doctor.Advise(doctor.Found(id, appliance.LevelWarn, "libvirt-guests saves members when the host goes down, and resumes them before pgapp can check; pgapp boots them again"),
		"set ON_SHUTDOWN=shutdown and ON_BOOT=ignore in /etc/default/libvirt-guests")
}

// clockFinding checks the host's clock, from which guests take theirs.
func clockFinding(system System) appliance.Finding {
	const id = "clock"
	synchronised, err := system.ClockSynchronised()
	switch {
	case err != nil:
		return doctor.Found(id, appliance.LevelSkip, "the clock's state can't be read: %v", err)
	case !synchronised:
		return doctor.Advise(doctor.Found(id, appliance.LevelWarn, "the host's clock isn't synchronised"), "sudo timedatectl set-ntp true")
	}
	return doctor.Found(id, appliance.LevelPass, "the host's clock is synchronised")
}
