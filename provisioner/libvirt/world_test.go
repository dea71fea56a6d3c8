package libvirt

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"pgapp/appliance"
)

// fakeSecrets keeps secrets in memory.
type fakeSecrets struct {
	mu sync.Mutex
	s  appliance.Secrets
}

func (m *fakeSecrets) Secrets(context.Context, string) (appliance.Secrets, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := appliance.Secrets{Values: map[string]appliance.Secret{}}
	for k, v := range m.s.Values {
		out.Values[k] = v
	}
	return out, nil
}

func (m *fakeSecrets) UpdateSecrets(_ context.Context, _ string, change func(*appliance.Secrets) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return change(&m.s)
}

// fakeLocal stands for the provider of local members.
type fakeLocal struct{ appliance.Provider }

func (fakeLocal) Allocate(_ context.Context, r appliance.AllocateRequest) ([]appliance.Member, error) {
	return []appliance.Member{{
		Name: r.Names[0], Placement: appliance.PlacementLocal, Host: "127.0.122.1", Port: 5432,
		Slot: appliance.SlotName(r.Names[0]),
	}}, nil
}

func (fakeLocal) CreateSteps(_ appliance.Cluster, ms []appliance.Member) []appliance.Step {
	return []appliance.Step{{ID: "host", Kind: appliance.StepHost}, {ID: "machine/" + ms[0].Name, Kind: appliance.StepMachine, After: []string{"host"}}}
}

func (fakeLocal) DestroySteps(_ appliance.Cluster, ms []appliance.Member) []appliance.Step {
	return []appliance.Step{{ID: "remove/" + ms[0].Name, Kind: appliance.StepRemove}}
}

func (fakeLocal) Watch(_ context.Context, _ appliance.Cluster, _ appliance.Member, wake func(string)) {
	wake("the local provider watches")
}

func (fakeLocal) Sign(context.Context, appliance.Cluster, appliance.Member) (appliance.Sign, error) {
	return appliance.Sign{Vital: appliance.VitalRunning, Detail: "process 1"}, nil
}

// world is a provider over a fake libvirt with the default network.
type world struct {
	*Provider
	fake *fake
	host *fakeHost
}

func newWorld(t *testing.T) world {
	t.Helper()
	h := newFakeHost()
	f := newFake()
	p := assemble(Config{
		Local: fakeLocal{}, LocalWatched: fakeLocal{}, Secrets: &fakeSecrets{}, Documents: os.DirFS("../../embed/cloudinit"),
		ImageDir: t.TempDir(), TempDir: t.TempDir(), BootLimit: 2 * time.Second, stopLimit: 300 * time.Millisecond,
		Host: h.host(),
	}, hypervisor{f, f, f, f, f, f, f, f, f})
	t.Cleanup(p.Close)
	x, err := defaultNetwork(tag{})
	if err != nil {
		t.Fatal(err)
	}
	x.Metadata = nil
	if err := f.DefineNetwork(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	f.networks["default"].Active = true
	return world{p, f, h}
}

func (w world) cluster(t *testing.T, name, uuid string, standbys int, others ...appliance.Member) appliance.Cluster {
	t.Helper()
	spec := appliance.Spec{Name: name, Provider: appliance.ProviderLibvirt, Standbys: &standbys}.WithDefaults()
	c := appliance.Cluster{Name: name, UUID: uuid, Spec: spec, Primary: "node0"}
	var names []string
	for i := range standbys + 1 {
		names = append(names, appliance.MemberName(i))
	}
	ms, err := w.Allocate(t.Context(), appliance.AllocateRequest{Spec: spec, Cluster: name, UUID: uuid, Names: names, Others: others})
	if err != nil {
		t.Fatal(err)
	}
	c.Members = ms
	return c
}

// onLoopback gives the cluster's node1 an address where nothing of ours answers,
// and the network its subnet.
func (w world) onLoopback(c appliance.Cluster) {
	w.fake.mu.Lock()
	defer w.fake.mu.Unlock()
	c.Members[1].Host = "127.0.0.1"
	w.fake.networks["default"].XML.IPs[0].Address = "127.0.0.254"
}
