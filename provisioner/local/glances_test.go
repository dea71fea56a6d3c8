package local

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// TestAskingForASignPutsOffTheNextLook asks for a member's sign as often as a daemon at rest
// does, and then no more.
func TestAskingForASignPutsOffTheNextLook(t *testing.T) {
	t.Parallel()
	p := selfProvider(t)
	m, other := made(t, p), made(t, p)
	other.member = "another"
	other.dir = filepath.Join(filepath.Dir(m.dir), "another")
	known := acquainted(t, m)
	synctest.Test(t, func(t *testing.T) {
		var g glances
		next, others := time.NewTimer(glanceEvery), time.NewTimer(glanceEvery)
		remove := g.add(m, next)
		defer g.add(other, others)()
		for range 3 {
			time.Sleep(glanceEvery - time.Millisecond)
			if _, ok, events := g.sign(m, time.Now()); !ok {
				g.keep(m, known, appliance.Sign{}, events, time.Now())
			}
		}
		select {
		case <-next.C:
			t.Error("a look was due though somebody asked all the time")
		default:
		}
		select {
		case <-others.C:
		default:
			t.Error("the look at another member was put off")
		}
		begun := time.Now()
		<-next.C
		if took := time.Since(begun); took != afterSign {
			t.Errorf("the next look was due after %s, want %s", took, afterSign)
		}
		remove()
		next.Reset(glanceEvery)
		g.keep(m, known, appliance.Sign{}, 0, time.Now())
		begun = time.Now()
		<-next.C
		if took := time.Since(begun); took != glanceEvery {
			t.Errorf("a watch that has ended was put off for %s", took)
		}
	})
}

// acquainted is a process in the member's place, as it is known once it was found.
func acquainted(t *testing.T, m *machine) acquaintance {
	t.Helper()
	p, _ := standIn(t, m)
	sign(t, m)
	known, _, ok := m.p.known.recognize(m)
	if !ok || known.p != p {
		t.Fatalf("the process %v is not known, but %v", p, known.p)
	}
	return known
}

// TestKeptSignIsOfNow keeps the sign of a process that runs, changes something, and looks what
// is still kept. Whatever is no longer kept is looked at anew.
func TestKeptSignIsOfNow(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(g *glances, m *machine, p proc) error
		later  time.Duration
		kept   bool
	}{
		"nothing":       {nil, sureFor - 1, true},
		"time":          {nil, sureFor, false},
		"an event":      {func(g *glances, m *machine, _ proc) error { g.event(m); return nil }, 0, false},
		"it is stopped": {func(_ *glances, _ *machine, p proc) error { return syscall.Kill(p.pid, syscall.SIGSTOP) }, 0, false},
		"it has ended":  {func(_ *glances, _ *machine, p proc) error { return syscall.Kill(p.pid, syscall.SIGKILL) }, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := made(t, selfProvider(t))
			known := acquainted(t, m)
			var g glances
			defer g.add(m, time.NewTimer(time.Hour))()
			now, want := time.Now(), appliance.Sign{Vital: appliance.VitalRunning, Detail: "kept"}
			g.keep(m, known, want, 0, now)
			if got, ok, _ := g.sign(m, now); !ok || got != want {
				t.Fatalf("the sign that was kept is %+v, %t", got, ok)
			}
			if c.change != nil {
				if err := c.change(&g, m, known.p); err != nil {
					t.Fatal(err)
				}
			}
			now = now.Add(c.later)
			err := wait.Until(testContext(t), 10*time.Millisecond, func(context.Context) (bool, error) { // for a signal
				_, ok, _ := g.sign(m, now)
				return ok == c.kept, nil
			})
			if err != nil {
				t.Errorf("kept: %t all the time", !c.kept)
			}
		})
	}
}

// TestEventBeforeASignIsKept finds a member running, and before that is noted something
// happens to it.
func TestEventBeforeASignIsKept(t *testing.T) {
	t.Parallel()
	m := made(t, selfProvider(t))
	known := acquainted(t, m)
	var g glances
	now := time.Now()
	remove := g.add(m, time.NewTimer(time.Hour))
	_, _, events := g.sign(m, now)
	g.event(m)
	g.keep(m, known, appliance.Sign{}, events, now)
	if _, ok, _ := g.sign(m, now); ok {
		t.Error("a sign of before an event was kept")
	}
	known.start += "0" // another process has the number
	g.keep(m, known, appliance.Sign{}, events+1, now)
	if _, ok, _ := g.sign(m, now); ok {
		t.Error("another process was taken for the one that was found")
	}
	remove()
}

// TestSignOfAWatchedMemberFollowsItsPlace renames the data directory of a member whose sign
// is kept: the watch's event is what tells.
func TestSignOfAWatchedMemberFollowsItsPlace(t *testing.T) {
	t.Parallel()
	m := made(t, selfProvider(t))
	await := watching(t, m)
	acquainted(t, m)
	await(string(appliance.VitalRunning))
	if got := sign(t, m); got.Vital != appliance.VitalRunning {
		t.Fatalf("the sign of a running process is %+v", got)
	}
	rename(t, m.Layout().DataDir, m.Layout().DataDir+".old")
	err := wait.Until(testContext(t), 10*time.Millisecond, func(context.Context) (bool, error) {
		return sign(t, m).Vital == appliance.VitalGone, nil
	})
	if err != nil {
		t.Error("a member without its data directory has a sign of life")
	}
}

// TestReadKernelReadsAllOfAFile reads files that are longer than what is asked for at once.
func TestReadKernelReadsAllOfAFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	for _, size := range []int{0, 1, 1023, 1024, 1025, 10000} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(i)
		}
		if err := os.WriteFile(file, want, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readKernel(file); string(got) != string(want) || err != nil {
			t.Errorf("of %d bytes %d were read: %v", size, len(got), err)
		}
	}
	if _, err := readKernel(file + ".missing"); !os.IsNotExist(err) {
		t.Errorf("a missing file: %v", err)
	}
}
