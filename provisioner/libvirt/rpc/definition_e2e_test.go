//go:build e2e

package rpc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
)

const definitionText = `<domain type='qemu'><name>pgapp-rpc-definition</name><uuid>7b1f0b2e-1111-4222-8333-4444555566bb</uuid>
<memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
<devices>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='DIR/root'/><target dev='vda' bus='virtio'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='DIR/data'/><target dev='vdb' bus='virtio'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='DIR/seed'/><target dev='vdc' bus='virtio'/></disk>
<graphics type='vnc' port='-1' passwd='canary'/>
</devices></domain>`

// TestDefinitionsForReal changes a definition that a person has made.
func TestDefinitionsForReal(t *testing.T) {
	c := lab(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	const name = "pgapp-rpc-definition"
	dir, err := os.MkdirTemp("/var/lib/libvirt/images", "pgapp-rpc-")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := errors.Join(c.DestroyDomain(ctx, name), c.UndefineDomain(ctx, name), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	for _, f := range []string{"data", "seed"} {
		must(t, os.WriteFile(filepath.Join(dir, f), make([]byte, 1<<20), 0o644))
	}
	must(t, c.RedefineDomain(ctx, name, strings.ReplaceAll(definitionText, "DIR", dir)))
	must(t, c.withDomain(ctx, "autostarting", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) error { return v.DomainSetAutostart(dom, 1) }))
	if there, err := c.DiskThere(ctx, name, "vda"); err != nil || there {
		t.Errorf("a disk without its file: got %v, %v", there, err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "root"), make([]byte, 1<<20), 0o644))
	if there, err := c.DiskThere(ctx, name, "vda"); err != nil || !there {
		t.Errorf("a disk with its file: got %v, %v", there, err)
	}
	must(t, c.StartDomain(ctx, name))
	must(t, c.DetachDisk(ctx, name, filepath.Join(dir, "none")))
	must(t, c.DetachDisk(ctx, name, filepath.Join(dir, "seed")))
	must(t, c.DetachDisk(ctx, name, filepath.Join(dir, "seed")))
	text, err := c.Definition(ctx, name)
	if err != nil || strings.Contains(text, "/seed") || !strings.Contains(text, "/data") || !strings.Contains(text, "passwd='canary'") {
		t.Errorf("got %v and %s", err, text)
	}
	must(t, c.RedefineDomain(ctx, name, strings.Replace(text, "</name>", "</name><title>changed</title>", 1)))
	must(t, c.withDomain(ctx, "looking at", name, func(v *golibvirt.Libvirt, dom golibvirt.Domain) error {
		if on, err := v.DomainGetAutostart(dom); err != nil || on != 1 {
			t.Errorf("autostart: got %d, %v", on, err)
		}
		return v.DomainSuspend(dom)
	}))
	d, err := c.Domain(ctx, name)
	if err != nil || !d.Resumable() || d.XML.Title != "changed" {
		t.Errorf("a suspended domain: got state %d, reason %d, title %q, %v", d.State, d.Reason, d.XML.Title, err)
	}
	must(t, c.ResumeDomain(ctx, name))
	if err := c.ResumeDomain(ctx, name); !errors.Is(err, ErrInactive) {
		t.Errorf("a domain that runs was resumed: got %v", err)
	}
	must(t, c.ResizeDisk(ctx, name, "vda", 2<<20))
	if size, err := c.DiskSize(ctx, name, "vda"); err != nil || size != 2<<20 {
		t.Errorf("got %d bytes, %v", size, err)
	}
}
