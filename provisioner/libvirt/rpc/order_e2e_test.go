//go:build e2e

package rpc

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"libvirt.org/go/libvirtxml"
)

// TestDownloadsForReal makes libvirt's daemon send a volume's first bytes before
// the reply to the call that asked for them, which it does once in a while.
func TestDownloadsForReal(t *testing.T) {
	c := lab(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	const pool = "pgapp-rpc-downloads"
	must(t, c.DefinePool(ctx, libvirtxml.StoragePool{Type: "dir", Name: pool, Target: &libvirtxml.StoragePoolTarget{Path: t.TempDir()}}))
	t.Cleanup(func() { undefinePool(t, c, pool) })
	must(t, c.StartPool(ctx, pool))
	want := bytes.Repeat([]byte("pgapp"), 1000)
	must(t, c.CreateVolume(ctx, pool, bytesVolume("x", len(want))))
	must(t, c.Upload(ctx, pool, "x", bytes.NewReader(want), int64(len(want))))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := range 500 {
				got, err := c.Download(ctx, pool, "x", 1<<20)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("download %d: %d of %d bytes, %v", n, len(got), len(want), err)
					return
				}
			}
		})
	}
	wg.Wait()
	must(t, c.DeleteVolume(context.WithoutCancel(ctx), pool, "x"))
}
