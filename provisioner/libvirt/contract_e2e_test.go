//go:build e2e

package libvirt

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/provisioner/providertest"
)

// TestContract holds the provider to what all providers promise, with real
// machines. It takes long where they are emulated.
func TestContract(t *testing.T) {
	// The parts run at once and know nothing of each other: two that make
	// machines would choose the same addresses before either has reserved its
	// own. Allocate makes none, and its clusters have to choose for themselves.
	first := map[string]string{"Foreign": "192.168.122.60", "Life": "192.168.122.40"}
	providertest.Run(t, func(t *testing.T) providertest.Fixture {
		p := labProvider(t)
		return providertest.Fixture{
			Provider: p,
			Spec: appliance.Spec{
				Provider: appliance.ProviderLibvirt, Primary: appliance.PrimaryVM, MemoryMiB: 512,
				FirstAddress: first[path.Base(t.Name())],
				Image:        os.Getenv("PGAPP_LAB_IMAGE"), AptMirror: os.Getenv("PGAPP_LAB_APT"),
			},
			OwnMachines: true,
			Patience:    30 * time.Minute,
			Leftovers:   leftovers,
			PutForeign:  putForeign,
			Kill: func(t *testing.T, _ appliance.Cluster, m appliance.Member) {
				t.Helper()
				virsh(t, "destroy", m.UUID)
			},
			Halts: []providertest.Halt{{Name: "a machine that is suspended", Do: func(t *testing.T, _ appliance.Cluster, m appliance.Member) func() {
				t.Helper()
				virsh(t, "suspend", m.UUID)
				return func() { virsh(t, "resume", m.UUID) }
			}}},
		}
	})
}

// putForeign defines somebody else's domain under the member's name.
func putForeign(t *testing.T, _ appliance.Cluster, m appliance.Member) func(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "foreign.xml")
	const text = `<domain type='qemu'><name>NAME</name><memory unit='MiB'>64</memory><os><type>hvm</type></os></domain>`
	if err := os.WriteFile(file, []byte(strings.Replace(text, "NAME", m.Domain, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	virsh(t, "define", file)
	before := virsh(t, "dumpxml", m.Domain)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = virshIn(ctx, "undefine", m.Domain)
	})
	return func(t *testing.T) {
		t.Helper()
		if got := virsh(t, "dumpxml", m.Domain); got != before {
			t.Errorf("the foreign domain was changed:\n%s", got)
		}
	}
}
