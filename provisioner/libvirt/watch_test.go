package libvirt

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/host"
	"pgapp/provisioner/libvirt/rpc"
)

var errBroken = errors.New("the connection to libvirt broke")

func TestSignReadsDomainState(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		detail string
		state  golibvirt.DomainState
		reason int32
		want   appliance.Vital
	}{
		{"running (booted)", golibvirt.DomainRunning, 1, appliance.VitalRunning},
		{"running (restored)", golibvirt.DomainRunning, 3, appliance.VitalRunning},
		{"in shutdown (user)", golibvirt.DomainShutdown, 1, appliance.VitalRunning},
		{"shut off (destroyed)", golibvirt.DomainShutoff, 2, appliance.VitalGone},
		{"shut off (saved)", golibvirt.DomainShutoff, 5, appliance.VitalGone},
		{"crashed (panicked)", golibvirt.DomainCrashed, 1, appliance.VitalGone},
		{"paused (user)", golibvirt.DomainPaused, 1, appliance.VitalHalted},
		{"paused (creating snapshot)", golibvirt.DomainPaused, 9, appliance.VitalHalted},
		{"paused (API error)", golibvirt.DomainPaused, 14, appliance.VitalHalted},
		{"paused", golibvirt.DomainPaused, 99, appliance.VitalHalted},
		{"pmsuspended", golibvirt.DomainPmsuspended, 0, appliance.VitalHalted},
		{"paused (I/O error)", golibvirt.DomainPaused, 5, appliance.VitalDisk},
	} {
		t.Run(tt.detail, func(t *testing.T) {
			t.Parallel()
			w, c, m := inLife(t)
			w.fake.rename(m.Domain, "billing-db")
			w.fake.happens(t, m.UUID, rpc.DomainState(tt.state), tt.reason, "")
			for _, left := range [][]string{nil, {"qemu-system-x86_64", "-uuid", m.UUID}} {
				w.host.processes = nil
				if left != nil {
					w.host.processes = []host.Process{{PID: 7, Argv: left}}
				}
				want := appliance.Sign{Vital: tt.want, Off: tt.want == appliance.VitalGone && left == nil, Detail: tt.detail}
				if got, err := w.Sign(t.Context(), c, m); err != nil || got != want {
					t.Errorf("with the processes %q: got %+v, %v, want %+v", left, got, err, want)
				}
			}
		})
	}
}

// TestSignWithoutLibvirt asks the host's processes instead, within a look's time.
func TestSignWithoutLibvirt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		says   string
		breaks func(w world, m appliance.Member)
		why    error
	}{
		{"libvirt doesn't answer", func(w world, _ appliance.Member) { w.fake.breaks(errBroken) }, errBroken},
		{"libvirt doesn't answer", func(w world, _ appliance.Member) { w.fake.events.hangs = true }, context.DeadlineExceeded},
		{"libvirt has no such domain", func(w world, m appliance.Member) { delete(w.fake.domains, m.Domain) }, rpc.ErrNotFound},
	} {
		t.Run(tt.why.Error(), func(t *testing.T) {
			t.Parallel()
			w, c, m := inLife(t)
			tt.breaks(w, m)
			sign := func() (appliance.Sign, error) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				return w.Sign(ctx, c, m)
			}
			w.host.processes = []host.Process{{PID: 7, Argv: []string{"qemu-system-x86_64", "-uuid", m.UUID}}}
			got, err := sign()
			if got.Vital != appliance.VitalUnknown || got.Off || !errors.Is(err, tt.why) {
				t.Errorf("with a QEMU process: got %+v, %v", got, err)
			}
			w.host.processes = []host.Process{{PID: 7, Argv: []string{"qemu-system-x86_64", "-uuid", c.Members[0].UUID}}}
			got, err = sign()
			if got.Vital != appliance.VitalGone || !got.Off || !strings.Contains(got.Detail, tt.says) || err != nil {
				t.Errorf("without one: got %+v, %v", got, err)
			}
		})
	}
}

func TestSignOfForeignDomain(t *testing.T) {
	t.Parallel()
	w, c, m := inLife(t)
	w.fake.domains[m.Domain].UUID = "7b1f0b2e-1111-4222-8333-4444555566cc"
	if got, err := w.Sign(t.Context(), c, m); got.Vital != appliance.VitalUnknown || !appliance.IsProblem(err, appliance.ErrForeignObject) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// wakes collects what a watch says until the test ends.
type wakes struct{ said chan string }

func watchMember(t *testing.T, w world, c appliance.Cluster, m appliance.Member) wakes {
	t.Helper()
	out := wakes{make(chan string, 100)}
	ctx, stop := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	ended.Go(func() { w.Watch(ctx, c, m, func(detail string) { out.said <- detail }) })
	t.Cleanup(func() { stop(); ended.Wait() })
	return out
}

// next returns the next wake.
func (w wakes) next(t *testing.T) string {
	t.Helper()
	select {
	case got := <-w.said:
		return got
	case <-time.After(20 * time.Second):
		t.Fatal("no wake")
		return ""
	}
}

func TestWatchWakesForMembersEvents(t *testing.T) {
	t.Parallel()
	w, c, m := inLife(t)
	var other string
	for name, d := range w.fake.domains {
		if d.UUID != m.UUID {
			other = name
		}
	}
	if other == "" {
		w.fake.domains["other"] = &rpc.Domain{Name: "other", UUID: "7b1f0b2e-1111-4222-8333-4444555566cc"}
		other = "other"
	}
	watch := watchMember(t, w, c, m)
	got := []string{watch.next(t)}
	w.fake.happens(t, other, rpc.DomainPaused, 1, "Crashed")
	w.fake.happens(t, m.Domain, rpc.DomainPaused, 1, "Suspended")
	got = append(got, watch.next(t))
	w.fake.rename(m.Domain, "billing-db")
	w.fake.happens(t, m.UUID, rpc.DomainRunning, 5, "Resumed")
	got = append(got, watch.next(t))
	if want := []string{"libvirt's events are followed", "libvirt says Suspended", "libvirt says Resumed"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestWatchWakesAfterEachLoss loses libvirt twice, for good and for a moment.
func TestWatchWakesAfterEachLoss(t *testing.T) {
	t.Parallel()
	w, c, m := inLife(t)
	watch := watchMember(t, w, c, m)
	got := []string{watch.next(t)}
	for range 2 {
		w.fake.breaks(errBroken)
		got = append(got, watch.next(t))
		w.fake.breaks(nil)
		got = append(got, watch.next(t))
	}
	const begun = "libvirt's events are followed"
	if want := []string{begun, errBroken.Error(), begun, errBroken.Error(), begun}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestWatchWakesWhenItCannotBegin watches while libvirt is away: one wake says so.
func TestWatchWakesWhenItCannotBegin(t *testing.T) {
	t.Parallel()
	w, c, m := inLife(t)
	w.fake.breaks(errBroken)
	watch := watchMember(t, w, c, m)
	got := []string{watch.next(t)}
	tries := time.NewTimer(3 * followAgain)
	defer tries.Stop()
	<-tries.C
	w.fake.breaks(nil)
	got = append(got, watch.next(t))
	if want := []string{errBroken.Error(), "libvirt's events are followed"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHostMemberIsWatchedLocally(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cluster(t, "main", uuidA, 1)
	m := c.Members[0]
	if m.Placement != appliance.PlacementLocal {
		t.Fatalf("the primary is placed at %s", m.Placement)
	}
	if got := watchMember(t, w, c, m).next(t); got != "the local provider watches" {
		t.Errorf("got %q", got)
	}
	if got, err := w.Sign(t.Context(), c, m); err != nil || got.Detail != "process 1" {
		t.Errorf("got %+v, %v", got, err)
	}
}
