package rpc

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"pgapp/appliance"
)

func TestProblemMapsFailuresToIDs(t *testing.T) {
	t.Parallel()
	refused := func(code golibvirt.ErrorNumber, text string) error {
		return golibvirt.Error{Code: uint32(code), Message: text}
	}
	for _, tc := range []struct {
		err  error
		want appliance.ErrorID
	}{
		{refused(golibvirt.ErrAuthUnavailable, "authentication unavailable: no polkit agent available to authenticate action"), appliance.ErrHostLibvirtPerm},
		{refused(golibvirt.ErrSystemError, "cannot extend file '/x': No space left on device"), appliance.ErrHostNoSpace},
		{refused(golibvirt.ErrInternalError, "internal error: process exited while connecting to monitor: Could not access KVM kernel module: No such file or directory"), appliance.ErrHostNoKVM},
		{refused(golibvirt.ErrInternalError, "internal error: qemu unexpectedly closed the monitor: error: failed to set MSR 0x10a to 0x0"), appliance.ErrHostNoKVM},
		{refused(golibvirt.ErrInvalidArg, "invalid argument: KVM is not supported by '/usr/bin/qemu-system-x86_64' on this host"), appliance.ErrHostNoKVM},
		{refused(golibvirt.ErrConfigUnsupported, "unsupported configuration: Domain type of 'kvm' is not supported"), appliance.ErrHostNoKVM},
		{refused(golibvirt.ErrOperationFailed, "operation failed: Unable to find 'efi' firmware that is compatible with the current configuration"), appliance.ErrHostUnable},
		{refused(golibvirt.ErrInternalError, "qemu: cannot set up guest memory 'pc.ram': Cannot allocate memory"), appliance.ErrHostNoMemory},
		{refused(golibvirt.ErrInternalError, `Could not open '/x/y.qcow2': Permission denied`), appliance.ErrHostPermission},
		{refused(golibvirt.ErrInternalError, "Network is already in use by interface virbr0"), appliance.ErrHostNetwork},
		{refused(golibvirt.ErrInternalError, "something new"), appliance.ErrLibvirt},
		{syscall.ENOENT, appliance.ErrHostNoLibvirt},
		{syscall.ECONNREFUSED, appliance.ErrHostNoLibvirt},
		{syscall.EACCES, appliance.ErrHostLibvirtPerm},
		{golibvirt.ErrInterrupted, appliance.ErrHostNoLibvirt},
	} {
		p := appliance.AsProblem(problem("doing it", tc.err))
		if p.ID != tc.want || p.Hint == "" {
			t.Errorf("%v: got %s with hint %q, want %s", tc.err, p.ID, p.Hint, tc.want)
		}
	}
	for text, want := range map[string]bool{
		"internal error: process exited while connecting to monitor":                    true,
		"internal error: qemu unexpectedly closed the monitor: ":                        true,
		"failed to connect to monitor socket: Connection refused":                       true,
		"operation failed: domain is no longer running":                                 true,
		"failed to connect to monitor socket: Permission denied":                        false,
		"internal error: qemu unexpectedly closed the monitor: qemu: cannot do this":    false,
		"internal error: process exited while connecting to monitor: could not open it": false,
	} {
		if err := problem("doing it", refused(golibvirt.ErrInternalError, text)); errors.Is(err, ErrNoMessage) != want {
			t.Errorf("%q: noMessage is not %v", text, want)
		}
	}
	for code, want := range map[golibvirt.ErrorNumber]error{
		golibvirt.ErrNoDomain: ErrNotFound, golibvirt.ErrNoStorageVol: ErrNotFound, golibvirt.ErrOperationInvalid: ErrInactive,
		golibvirt.ErrStorageVolExist: ErrExists, golibvirt.ErrResourceBusy: ErrBusy,
	} {
		if err := problem("doing it", refused(code, "x")); !errors.Is(err, want) {
			t.Errorf("%d: got %v, want %v", code, err, want)
		}
	}
}

func TestCallReportsMissingLibvirt(t *testing.T) {
	t.Parallel()
	c := New(SocketDialer((&net.Dialer{}).DialContext, filepath.Join(t.TempDir(), "none")))
	defer c.Close()
	begun := time.Now()
	if _, err := c.Version(t.Context()); !appliance.IsProblem(err, appliance.ErrHostNoLibvirt) {
		t.Errorf("got %v", err)
	}
	if time.Since(begun) > 5*time.Second {
		t.Error("it waited for a libvirt that never was")
	}
}

func TestCallEndsWithContext(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c := New(SocketDialer((&net.Dialer{}).DialContext, path)) // accepts, and never says a word
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if _, err := c.Version(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if time.Since(begun) > 5*time.Second {
		t.Error("the call went on")
	}
}

func TestQuestionToLibvirtThatHangsEnds(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c := New(SocketDialer((&net.Dialer{}).DialContext, path)) // accepts, and never says a word
	defer c.Close()
	c.limit = 100 * time.Millisecond
	for name, ask := range map[string]func() error{
		"a domain":    func() error { _, err := c.Domain(t.Context(), "x"); return err },
		"all domains": func() error { _, err := c.Domains(t.Context()); return err },
		"a network":   func() error { _, err := c.Network(t.Context(), "x"); return err },
		"a pool":      func() error { _, err := c.Pool(t.Context(), "x"); return err },
		"the version": func() error { _, err := c.Version(t.Context()); return err },
	} {
		if err := ask(); !appliance.IsProblem(err, appliance.ErrHostNoLibvirt) {
			t.Errorf("%s: got %v, want %s", name, err, appliance.ErrHostNoLibvirt)
		}
	}
}
