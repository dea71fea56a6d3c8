package local

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"pgapp/appliance"
	"pgapp/appliance/doctor"
)

// comfortMemoryMiB is the memory recommended for a member with default settings.
const comfortMemoryMiB = 192

// Doctor checks whether this machine can run the spec. Doctor changes nothing.
func (p *Provider) Doctor(ctx context.Context, s appliance.Spec) []appliance.Finding {
	members := s.StandbyCount() + 1
	out := []appliance.Finding{
		p.accountFinding(),
		p.homeFinding(ctx),
		p.diskFinding(members),
		memoryFinding(members),
		p.cgroupFinding(),
		zoneinfoFinding(),
		tablespaceFinding(landlockVersion()),
		p.portFinding(ctx, members),
	}
	out = append(out, p.surroundingFindings(ctx, s.PostgresBin, members)...)
	if p.account.self {
		out = append(out, p.lingerFinding(), removeIPCFinding())
	}
	return out
}

func (p *Provider) accountFinding() appliance.Finding {
	const id = "local-user"
	if p.account.self {
		return doctor.Found(id, appliance.LevelPass, "PostgreSQL runs as you, %s", p.account.name)
	}
	if p.account.exists() {
		return doctor.Found(id, appliance.LevelPass, "PostgreSQL runs as user %s", p.account.name)
	}
	if _, err := exec.LookPath("useradd"); p.account.own && err != nil {
		return doctor.Advise(doctor.Found(id, appliance.LevelFail, "there is no user for PostgreSQL, and no useradd to make one"),
			"install the package that brings useradd (passwd or shadow-utils)")
	}
	return doctor.Found(id, appliance.LevelPass, "PostgreSQL runs as system user %s, made with the first cluster", p.account.name)
}

func (p *Provider) homeFinding(ctx context.Context) appliance.Finding {
	const id = "local-home"
	if most := maxSocketPath - len(daemonSocket); len(p.home) > most {
		return doctor.Advise(doctor.Found(id, appliance.LevelFail, "the home's path has %d bytes; beyond %d the kernel refuses its socket", len(p.home), most),
			"choose a shorter path with --home; a symbolic link to the directory works")
	}
	dir := existing(p.home)
	if err := checkWritable(dir); err != nil {
		return doctor.Advise(doctor.Found(id, appliance.LevelFail, "%s can't be written: %v", dir, err), "choose another home with --home")
	}
	if dir == p.home && p.account.exists() {
		err := p.checkPassage(ctx)
		if err != nil && !passable(p.home) {
			f := doctor.OfError(id, err)
			f.Apply = func(context.Context) error { return p.openHome() }
			return f
		}
		if err != nil {
			return doctor.OfError(id, err)
		}
	}
	return doctor.Found(id, appliance.LevelPass, "%s can be used", p.home)
}

// existing returns dir or its nearest parent that exists.
func existing(dir string) string {
	for dir != filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	return dir
}

// checkWritable creates a file, because permissions don't show that a mount is
// read-only.
func checkWritable(dir string) error {
	f, err := os.CreateTemp(dir, ".pgapp-doctor-")
	if err != nil {
		var pathErr *os.PathError
		if errors.As(err, &pathErr) {
			return pathErr.Err
		}
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func (p *Provider) diskFinding(members int) appliance.Finding {
	const id = "local-disk"
	dir := existing(p.home)
	free, err := freeDiskMiB(dir)
	need := int64(members) * minDiskMiB
	switch {
	case err != nil:
		return doctor.OfError(id, err)
	case free < need:
		return doctor.Advise(doctor.Found(id, appliance.LevelFail, "%s has %d MiB free; %d members need %d", dir, free, members, need),
			"free disk space, or choose another home with --home")
	case free < 4*need:
		return doctor.Advise(doctor.Found(id, appliance.LevelWarn, "%s has %d MiB free, which is little for %d members", dir, free, members),
			"free disk space before loading much")
	}
	return doctor.Found(id, appliance.LevelPass, "%s has %d MiB free", dir, free)
}

func memoryFinding(members int) appliance.Finding {
	const id = "local-memory"
	available, ok := availableMemoryMiB()
	n := int64(members)
	switch {
	case !ok:
		return doctor.Found(id, appliance.LevelSkip, "the available memory can't be read")
	case available < n*minMemoryMiB:
		return doctor.Advise(doctor.Found(id, appliance.LevelFail, "%d MiB of memory are available; %d members need %d", available, members, n*minMemoryMiB),
			"end other programs, or use --standbys with a smaller number")
	case available < n*comfortMemoryMiB:
		return doctor.Advise(doctor.Found(id, appliance.LevelWarn, "%d MiB of memory are available, which is little for %d members", available, members),
			"lower shared_buffers, or use fewer standbys")
	}
	return doctor.Found(id, appliance.LevelPass, "%d MiB of memory are available", available)
}

func (p *Provider) cgroupFinding() appliance.Finding {
	const id = "local-cgroup"
	switch {
	case p.cgroups.mount == "":
		return doctor.Advise(doctor.Found(id, appliance.LevelWarn, "there is no cgroup2 here: pgapp finds members' processes in /proc"),
			"mount cgroup2: mount -t cgroup2 none /sys/fs/cgroup/unified")
	case p.cgroups.usable():
		return doctor.Found(id, appliance.LevelPass, "each member gets a cgroup under %s", p.cgroups.mount)
	case p.cgroups.hasUserManagerSocket():
		return doctor.Found(id, appliance.LevelPass, "each member gets a scope of your user manager")
	}
	return doctor.Found(id, appliance.LevelWarn, "no cgroup can be made in %s: pgapp finds members' processes in /proc", p.cgroups.mount)
}

func zoneinfoFinding() appliance.Finding {
	const id = "local-zoneinfo"
	if err := hasZoneinfo(); err != nil {
		return doctor.Advise(doctor.Found(id, appliance.LevelFail, "%s can't be read, and PostgreSQL needs it: %v", zoneinfoDir, err), "install tzdata")
	}
	return doctor.Found(id, appliance.LevelPass, "%s exists", zoneinfoDir)
}

// portFinding checks the usual addresses of the first cluster. A taken port is no
// failure, because Allocate chooses another.
func (p *Provider) portFinding(ctx context.Context, members int) appliance.Finding {
	const id = "local-ports"
	octets := []byte{primaryOctet}
	for i := 1; i < members; i++ {
		octets = append(octets, byte(firstOctet+i-1))
	}
	var taken []string
	for _, o := range octets {
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, p.block, o}), appliance.DefaultPort)
		if listens(ctx, a) {
			taken = append(taken, a.String())
		}
	}
	if len(taken) > 0 {
		return doctor.Found(id, appliance.LevelWarn, "something listens at %s: pgapp uses another port or block", strings.Join(taken, ", "))
	}
	return doctor.Found(id, appliance.LevelPass, "port %d is free at 127.0.%d.%d and the members' other addresses", appliance.DefaultPort, p.block, primaryOctet)
}

// lingerFinding checks linger for an ordinary user: without linger the user
// manager and its scopes end with the user's last session.
func (p *Provider) lingerFinding() appliance.Finding {
	const id = "local-linger"
	if !p.cgroups.hasUserManagerSocket() {
		return doctor.Found(id, appliance.LevelSkip, "you have no systemd user manager")
	}
	if _, err := os.Stat(filepath.Join("/var/lib/systemd/linger", p.account.name)); err == nil {
		return doctor.Found(id, appliance.LevelPass, "your processes may outlive your login")
	}
	return doctor.Advise(doctor.Found(id, appliance.LevelWarn, "linger is off: systemd ends the members when you log out"),
		"loginctl enable-linger %s", p.account.name)
}

// removeIPCFinding warns if logind removes the shared memory of a running
// PostgreSQL when its user logs out (PostgreSQL documentation 18.4.2). System
// users are not affected.
func removeIPCFinding() appliance.Finding {
	const id = "local-removeipc"
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return doctor.Found(id, appliance.LevelSkip, "logind doesn't run here")
	}
	if _, err := os.Stat(filepath.Join("/var/lib/systemd/linger", controlUser())); err == nil {
		return doctor.Found(id, appliance.LevelPass, "linger keeps logind from removing your shared memory")
	}
	files, _ := filepath.Glob("/etc/systemd/logind.conf.d/*.conf")
	for _, path := range append([]string{"/etc/systemd/logind.conf"}, files...) {
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains("\n"+string(data), "\nRemoveIPC=no") {
			return doctor.Found(id, appliance.LevelPass, "RemoveIPC is off")
		}
	}
	return doctor.Advise(doctor.Found(id, appliance.LevelWarn, "logind removes your shared memory when you log out, which crashes PostgreSQL"),
		"set RemoveIPC=no in /etc/systemd/logind.conf, or: loginctl enable-linger %s", controlUser())
}

func (c cgroups) hasUserManagerSocket() bool {
	_, err := os.Stat(filepath.Join(runtimeDir(os.Geteuid()), "systemd", "private"))
	return err == nil && c.mount != "" && strconv.Itoa(os.Geteuid()) != "0"
}
