//go:build e2e

package rpc

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"libvirt.org/go/libvirtxml"
)

func lab(t *testing.T) *Conn {
	t.Helper()
	socket := os.Getenv("PGAPP_LAB_SOCKET")
	if socket == "" {
		t.Fatal("not in the lab: run it by 'scripts/lab exec go test -tags e2e ./provisioner/libvirt/...'")
	}
	c := New(SocketDialer((&net.Dialer{}).DialContext, socket))
	t.Cleanup(c.Close)
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func bytesVolume(name string, n int) libvirtxml.StorageVolume {
	return libvirtxml.StorageVolume{
		Name: name, Capacity: &libvirtxml.StorageVolumeSize{Value: uint64(n), Unit: "bytes"},
		Target: &libvirtxml.StorageVolumeTarget{Format: &libvirtxml.StorageVolumeTargetFormat{Type: "raw"}},
	}
}

func TestStorageForReal(t *testing.T) {
	c := lab(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	const pool = "pgapp-rpc-test"
	_, err := c.Pool(ctx, pool)
	if !errors.Is(err, ErrNotFound) {
		t.Fatalf("got %v, want ErrNotFound", err)
	}
	must(t, c.DefinePool(ctx, libvirtxml.StoragePool{Type: "dir", Name: pool, Target: &libvirtxml.StoragePoolTarget{Path: t.TempDir()}}))
	t.Cleanup(func() { undefinePool(t, c, pool) })
	_, err = c.Volume(ctx, pool, "x")
	if !errors.Is(err, ErrInactive) {
		t.Errorf("a volume of an inactive pool: got %v", err)
	}
	must(t, c.StartPool(ctx, pool))
	must(t, c.StartPool(ctx, pool))
	if _, err := c.Volume(ctx, pool, "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	data := bytes.Repeat([]byte("pgapp"), 2_000_000)
	must(t, c.CreateVolume(ctx, pool, bytesVolume("x", len(data))))
	if err := c.CreateVolume(ctx, pool, bytesVolume("x", 1)); !errors.Is(err, ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
	must(t, c.Upload(ctx, pool, "x", bytes.NewReader(data), int64(len(data))))
	v, err := c.Volume(ctx, pool, "x")
	if err != nil || v.Physical != uint64(len(data)) {
		t.Errorf("got %+v, %v", v, err)
	}
	if got, err := c.Download(ctx, pool, "x", 10); err != nil || string(got) != "pgapppgapp" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := c.Upload(ctx, pool, "x", strings.NewReader("short"), 100); err == nil {
		t.Error("a reader that ends too early passed for an upload")
	}
	cut, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	if err := c.Upload(cut, pool, "x", stalled(cut.Done()), 1<<20); err == nil {
		t.Error("a stalled upload passed for one")
	}
	all, err := c.Volumes(ctx, pool)
	if err != nil || len(all) != 1 {
		t.Errorf("got %+v, %v", all, err)
	}
	for range 2 {
		err := c.DeleteVolume(ctx, pool, "x")
		for errors.Is(err, ErrBusy) && ctx.Err() == nil { // libvirt is still giving the upload up
			time.Sleep(50 * time.Millisecond)
			err = c.DeleteVolume(ctx, pool, "x")
		}
		must(t, err)
	}
}

// stalled gives nothing until its channel is closed.
type stalled <-chan struct{}

func (s stalled) Read([]byte) (int, error) {
	<-s
	return 0, context.Canceled
}

func TestReservationsForReal(t *testing.T) {
	c := lab(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	h := libvirtxml.NetworkDHCPHost{MAC: "52:54:00:fe:fe:fe", IP: "192.168.122.77", Name: "pgapp-rpc-test"}
	must(t, c.AddHost(ctx, "default", h))
	if err := c.AddHost(ctx, "default", h); err == nil {
		t.Error("the same reservation twice was taken")
	}
	n, err := c.Network(ctx, "default")
	must(t, err)
	if !n.Active || len(n.XML.IPs[0].DHCP.Hosts) == 0 {
		t.Errorf("got %+v", n)
	}
	must(t, c.RemoveHost(ctx, "default", h))
	if err := c.RemoveHost(ctx, "default", h); err == nil {
		t.Error("a reservation that isn't there was removed")
	}
	if _, err := c.Network(ctx, "none-such"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	_, err = c.Leases(ctx, "default")
	must(t, err)
}

func TestDomainsForReal(t *testing.T) {
	c := lab(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	const name = "pgapp-rpc-test"
	d := libvirtxml.Domain{
		Type: "qemu", Name: name, UUID: "7b1f0b2e-1111-4222-8333-4444555566aa",
		Memory: &libvirtxml.DomainMemory{Value: 64, Unit: "MiB"}, VCPU: &libvirtxml.DomainVCPU{Value: 1},
		OS: &libvirtxml.DomainOS{
			Firmware: "efi", Type: &libvirtxml.DomainOSType{Arch: "x86_64", Machine: "q35", Type: "hvm"},
			FirmwareInfo: &libvirtxml.DomainOSFirmwareInfo{Features: []libvirtxml.DomainOSFirmwareFeature{{Enabled: "no", Name: "secure-boot"}, {Enabled: "no", Name: "enrolled-keys"}}},
		},
		Features: &libvirtxml.DomainFeatureList{ACPI: &libvirtxml.DomainFeature{}},
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := errors.Join(c.DestroyDomain(ctx, name), c.UndefineDomain(ctx, name)); err != nil {
			t.Error(err)
		}
	})
	must(t, c.DefineDomain(ctx, d))
	must(t, c.DefineDomain(ctx, d))
	must(t, c.DestroyDomain(ctx, name))
	must(t, c.StartDomain(ctx, name))
	must(t, c.StartDomain(ctx, name))
	got, err := c.Domain(ctx, name)
	if err != nil || got.State != DomainRunning || got.Thawed() || got.UUID != d.UUID {
		t.Errorf("got state %d, %v", got.State, err)
	}
	if used, err := c.ProcessorTime(ctx, d.UUID); err != nil || used <= 0 || used > time.Minute {
		t.Errorf("a domain that has just been started has used %v of a processor, %v", used, err)
	}
	must(t, c.DetachDisk(ctx, name, "/nonexistent"))
	if err := c.UndefineDomain(ctx, name); err != nil {
		t.Logf("undefining a running domain: %v", err)
	}
	must(t, c.DestroyDomain(ctx, name))
	must(t, c.DestroyDomain(ctx, name))
	must(t, c.UndefineDomain(ctx, name))
	must(t, c.UndefineDomain(ctx, name))
	if _, err := c.ProcessorTime(ctx, name); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	if _, err := c.Domain(ctx, name); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	caps, err := c.Capabilities(ctx, "qemu")
	if err != nil || caps.OS == nil {
		t.Errorf("got %+v, %v", caps, err)
	}
	if _, err := c.Capabilities(ctx, "kvm"); err != nil {
		t.Logf("kvm: %v", err)
	}
}

// undefinePool isn't the provider's business: its pool stays.
func undefinePool(t *testing.T, c *Conn, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.removePool(ctx, name); err != nil {
		t.Error(err)
	}
}
