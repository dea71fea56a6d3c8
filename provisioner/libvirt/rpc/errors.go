package rpc

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"syscall"

	golibvirt "github.com/digitalocean/go-libvirt"

	"pgapp/appliance"
)

// ErrNotFound is in the error chain if a domain, pool, volume or network doesn't
// exist.
var ErrNotFound = errors.New("no such object")

// ErrInactive is in the error chain if an object exists but is not active, or its
// state doesn't allow the operation.
var ErrInactive = errors.New("the object's state doesn't allow the call")

// ErrExists is in the error chain if an object of that name already exists.
var ErrExists = errors.New("the object already exists")

// ErrBusy is in the error chain if another operation on the object runs.
var ErrBusy = errors.New("the object is busy")

// ErrNoMessage is in the error chain if QEMU ended during its start without a
// message. libvirt 9.0 reports this if a domain is started right after its
// previous QEMU died, as happens without KVM. The likely cause is libvirt's
// cleanup of the old process, which hits the new process
// (qemuProcessBeginStopJob). The cleanup may also remove the new process's
// monitor socket, so that connecting to the monitor fails, or end the new process
// later in its start, so that libvirt says that the domain is no longer running.
var ErrNoMessage = errors.New("QEMU ended without a message")

var noMessage = regexp.MustCompile(`(process exited while connecting to monitor|qemu unexpectedly closed the monitor):?$|failed to connect to monitor socket: Connection refused$|operation failed: domain is no longer running$`)

// sentinel maps libvirt's error codes to the sentinel errors of this package.
func sentinel(code uint32) error {
	switch golibvirt.ErrorNumber(code) {
	case golibvirt.ErrNoDomain, golibvirt.ErrNoNetwork, golibvirt.ErrNoStoragePool, golibvirt.ErrNoStorageVol:
		return ErrNotFound
	case golibvirt.ErrOperationInvalid:
		return ErrInactive
	case golibvirt.ErrStorageVolExist, golibvirt.ErrDomExist, golibvirt.ErrNetworkExist:
		return ErrExists
	case golibvirt.ErrResourceBusy:
		return ErrBusy
	}
	return nil
}

// rule maps the text of a failure to a Problem.
type rule struct {
	match *regexp.Regexp
	id    appliance.ErrorID
	hint  string
}

// rules returns the rules in the order of matching. libvirt reports most failures
// of QEMU under one of two codes, so only QEMU's message in the text tells them
// apart.
func rules() []rule {
	r := func(match string, id appliance.ErrorID, hint string) rule {
		return rule{regexp.MustCompile(`(?i)` + match), id, hint}
	}
	return []rule{
		r(`no polkit agent available|authentication (unavailable|failed|cancelled)|access denied`, appliance.ErrHostLibvirtPerm,
			"add yourself to the group libvirt and log in again: sudo usermod -aG libvirt $USER"),
		r(`No space left on device|disk quota exceeded`, appliance.ErrHostNoSpace,
			"free disk space in the pool's file system, then run the same command again: it goes on where it stopped"),
		r(`could not access KVM kernel module|KVM is not (available|supported)|accel 'kvm' is not supported|failed to initialize KVM|kvm kernel module|failed to set MSR|`+
			`host doesn't support.*kvm|Domain type of 'kvm'|domain type kvm|domaintype=kvm|invalid accelerator kvm|does not support.*virt type 'kvm'|KVM_`,
			appliance.ErrHostNoKVM, "use emulation, which is slower: --accel tcg"),
		r(`unable to find any (master var store|firmware)|Unable to find 'efi' firmware|firmware.*auto-?selection|OVMF`, appliance.ErrHostUnable,
			"install the UEFI firmware for guests: sudo apt-get install ovmf (Fedora: edk2-ovmf)"),
		r(`cannot (set up|allocate).*memory|Cannot allocate memory|out of memory`, appliance.ErrHostNoMemory,
			"free memory, or ask for less: --standbys or memory_mib in the spec"),
		r(`failed to get .*write.* lock|Is another process using the image`, appliance.ErrLibvirt,
			"another QEMU process uses the disk: see 'virsh list --all'"),
		r(`apparmor|unable to (set|load).*(security|label|profile)|Permission denied`, appliance.ErrHostPermission,
			"see 'journalctl -k -g apparmor' for the path that QEMU may not open; the pool has to lie under /var/lib/libvirt/images"),
		r(`Address already in use|dnsmasq`, appliance.ErrHostNetwork,
			"another DHCP server or bridge uses the network's address: see 'ss -ulpn' and 'virsh net-dumpxml default'"),
		r(`network is already in use by interface|firewall|iptables|nftables|Failed to (apply|run) firewall`, appliance.ErrHostNetwork,
			"see 'journalctl -u libvirtd' and 'virsh net-start default'"),
		r(`network .*(not active|is not active)`, appliance.ErrHostNetwork, "start it: virsh net-start NAME"),
		r(`Cannot find .*(qemu|emulator)|No emulator found|qemu-system-x86_64.*No such file|no connection driver available`, appliance.ErrHostNoLibvirt,
			"install QEMU: sudo apt-get install qemu-system-x86 libvirt-daemon-system"),
		r(`file system may not support O_DIRECT`, appliance.ErrHostUnable,
			"the pool lies on a file system without direct I/O: move /var/lib/libvirt/images to another one"),
	}
}

// failed is problem, but an unanswered call is no fault of the caller's context.
func failed(ctx context.Context, what string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return silent(what)
	}
	return problem(what, err)
}

// silent is the Problem of a libvirt that accepts connections and doesn't answer.
func silent(what string) error {
	return appliance.NewProblem(appliance.ErrHostNoLibvirt, "%s: libvirt doesn't answer", what).
		WithHint("restart it: sudo systemctl restart libvirtd (machines go on running), then run the same command again: it goes on where it stopped")
}

// problem turns a call's error into a Problem. what is a gerund that names the
// object.
func problem(what string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", what, err)
	}
	var refused golibvirt.Error
	isRefusal := errors.As(err, &refused)
	if isRefusal {
		if s := sentinel(refused.Code); s != nil {
			return fmt.Errorf("%s: %w: %s", what, s, oneLine(refused.Message))
		}
		err = libvirtError{refused: refused}
	}
	for _, r := range rules() {
		if isRefusal && r.match.MatchString(refused.Message) {
			return appliance.NewProblem(r.id, "%s: %w", what, err).WithHint("%s", r.hint)
		}
	}
	switch {
	case isRefusal:
		return appliance.NewProblem(appliance.ErrLibvirt, "%s: %w", what, err).
			WithHint("see 'journalctl -u libvirtd' and, for a domain, /var/log/libvirt/qemu/NAME.log")
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return appliance.NewProblem(appliance.ErrHostLibvirtPerm, "%s: no permission to use libvirt's socket: %w", what, err).
			WithHint("add yourself to the group libvirt and log in again: sudo usermod -aG libvirt $USER")
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return appliance.NewProblem(appliance.ErrHostNoLibvirt, "%s: libvirt doesn't answer: %w", what, err).
			WithHint("install and start it: sudo apt-get install libvirt-daemon-system qemu-system-x86, sudo systemctl start libvirtd (or virtqemud.socket, where libvirt has a daemon for each driver)")
	case lost(err):
		return appliance.NewProblem(appliance.ErrHostNoLibvirt, "%s: the connection to libvirt broke: %w", what, err).
			WithHint("see 'systemctl status libvirtd', then run the same command again: it goes on where it stopped")
	}
	return fmt.Errorf("%s: %w", what, err)
}

// libvirtError shows libvirt's message on one line.
type libvirtError struct{ refused golibvirt.Error }

func (e libvirtError) Error() string { return oneLine(e.refused.Message) }
func (e libvirtError) Unwrap() error { return e.refused }

func (e libvirtError) Is(target error) bool {
	return target == ErrNoMessage && noMessage.MatchString(e.Error())
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
