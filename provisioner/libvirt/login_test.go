package libvirt

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

func TestLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cluster(t, "main", uuidA, 1)
	m := c.Members[1]
	if _, err := w.Login(t.Context(), c, m); !appliance.IsProblem(err, appliance.ErrConflict) {
		t.Errorf("without keys: got %v", err)
	}
	if err := w.ensureKeys(t.Context(), c, c.Members[1:]); err != nil {
		t.Fatal(err)
	}
	l, err := w.Login(t.Context(), c, m)
	if err != nil || l.Host != m.Host || l.Port != 22 || l.User != "pgapp" {
		t.Fatalf("got %+v, %v", l, err)
	}
	if !strings.HasPrefix(l.HostKey, "ssh-ed25519 ") || !strings.Contains(l.Key.Reveal(), "OPENSSH PRIVATE KEY") {
		t.Errorf("got host key %q", l.HostKey)
	}
	w.cfg.Local = fakeLocal{hostMachine{}}
	_, err = w.Login(t.Context(), c, c.Members[0])
	if p := appliance.AsProblem(err); p == nil || p.ID != appliance.ErrUsage || !strings.Contains(p.Hint, "/members/node0/data") {
		t.Errorf("a member on the host: got %v", err)
	}
}

func TestProcessorTimeIsTheDomains(t *testing.T) {
	t.Parallel()
	w, c, m := inLife(t)
	w.fake.rename(m.Domain, "billing-db")
	w.fake.used = map[string]time.Duration{"billing-db": 1500 * time.Millisecond, m.Domain: time.Hour}
	if used, err := w.ProcessorTime(t.Context(), c, m); err != nil || used != 1500*time.Millisecond {
		t.Errorf("got %v, %v", used, err)
	}
	delete(w.fake.domains, "billing-db")
	if used, err := w.ProcessorTime(t.Context(), c, m); !errors.Is(err, rpc.ErrNotFound) {
		t.Errorf("a machine that is gone: %v, %v", used, err)
	}
	m.Placement = appliance.PlacementLocal
	if used, err := w.ProcessorTime(t.Context(), c, m); !appliance.IsProblem(err, appliance.ErrUsage) {
		t.Errorf("a member on the host: %v, %v", used, err)
	}
}

// hostMachine gives members on the host a layout.
type hostMachine struct{ appliance.Provider }

func (hostMachine) Machine(_ appliance.Cluster, m appliance.Member) appliance.Machine {
	return hostLayout{dir: "/members/" + m.Name + "/data"}
}

type hostLayout struct {
	appliance.Machine
	dir string
}

func (h hostLayout) Layout() appliance.Layout { return appliance.Layout{DataDir: h.dir} }
