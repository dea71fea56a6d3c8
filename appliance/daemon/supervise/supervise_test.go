package supervise

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// diary notes what happens, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) add(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

// loop notes its beginning and, when it is told to, its end.
func (d *diary) loop(name string, needs ...string) Loop {
	return Loop{Name: name, Needs: needs, Run: func(ctx context.Context) error {
		d.add("+" + name)
		<-ctx.Done()
		d.add("-" + name)
		return nil
	}}
}

func start(t *testing.T, log *slog.Logger, loops ...Loop) *Supervisor {
	t.Helper()
	s, err := Start(t.Context(), log, loops...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestLoopsBeginAfterAndEndBeforeWhatTheyNeed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		s := start(t, quiet(), d.loop("monitor", "sampler", "endpoint"), d.loop("endpoint"), d.loop("sampler", "endpoint"), d.loop("alone"))
		synctest.Wait()
		for _, pair := range [][2]string{{"endpoint", "sampler"}, {"sampler", "monitor"}} {
			at := func(name string) int {
				return slices.IndexFunc(s.loops, func(r *running) bool { return r.Name == name })
			}
			if at(pair[0]) > at(pair[1]) {
				t.Errorf("%s begins after %s, which needs it", pair[0], pair[1])
			}
		}
		d.lines = nil
		s.Close()
		if want := []string{"-alone", "-monitor", "-sampler", "-endpoint"}; !slices.Equal(d.lines, want) {
			t.Errorf("the end was %q, want %q", d.lines, want)
		}
		s.Close() // a repeat does nothing
	})
}

func TestCloseEndsEachLoopBeforeTheNextIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		slow := Loop{Name: "slow", Needs: []string{"base"}, Run: func(ctx context.Context) error {
			<-ctx.Done()
			<-time.After(time.Second)
			d.add("-slow")
			return nil
		}}
		s := start(t, quiet(), d.loop("base"), slow)
		s.Close()
		if want := []string{"+base", "-slow", "-base"}; !slices.Equal(d.lines, want) {
			t.Errorf("%q, want %q", d.lines, want)
		}
	})
}

// TestTheCallersEndDoesNotEndLoops leaves the order of ends to Close.
func TestTheCallersEndDoesNotEndLoops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		ctx, cancel := context.WithCancel(t.Context())
		s, err := Start(ctx, quiet(), d.loop("one"))
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		synctest.Wait()
		if slices.Contains(d.lines, "-one") {
			t.Error("the loop has ended before Close")
		}
		s.Close()
	})
}

func TestStartRefusesLoopsWithoutAnOrder(t *testing.T) {
	t.Parallel()
	d := &diary{}
	for name, loops := range map[string][]Loop{
		"a name twice":   {d.loop("one"), d.loop("one")},
		"no name":        {d.loop("")},
		"an unknown one": {d.loop("one", "two")},
		"itself":         {d.loop("one", "one")},
		"a circle":       {d.loop("one", "two"), d.loop("two", "three"), d.loop("three", "one")},
	} {
		if _, err := Start(t.Context(), quiet(), loops...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if len(d.lines) > 0 {
		t.Errorf("refused, and yet %q", d.lines)
	}
}

func TestPanicIsLoggedShownAndTheLoopStartedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		runs, d := 0, &diary{}
		crash := Loop{Name: "crash", Run: func(ctx context.Context) error {
			if runs++; runs < 3 {
				panic("a broken invariant")
			}
			<-ctx.Done()
			return nil
		}}
		s := start(t, slog.New(slog.NewJSONHandler(&out, nil)), crash, d.loop("other"))
		synctest.Wait()
		f := s.Failures()
		if len(f) != 1 || f[0].Loop != "crash" || f[0].Failures != 1 || f[0].Error != "panic: a broken invariant" || f[0].FailedAt.IsZero() {
			t.Fatalf("shown is %+v", f)
		}
		<-time.After(10 * time.Second)
		synctest.Wait()
		if f := s.Failures(); runs != 3 || len(f) != 1 || f[0].Failures != 2 {
			t.Errorf("%d runs, shown is %+v", runs, f)
		}
		<-time.After(settled)
		synctest.Wait()
		if f := s.Failures(); len(f) != 0 {
			t.Errorf("a loop that runs well again is shown: %+v", f)
		}
		s.Close()
		if !slices.Equal(d.lines, []string{"+other", "-other"}) {
			t.Errorf("the other loop: %q", d.lines)
		}
		if text := out.String(); !strings.Contains(text, "a broken invariant") || !strings.Contains(text, "supervise_test.go") {
			t.Errorf("the log has no reason or no stack: %s", text)
		}
	})
}

func TestErrorIsShownAndPausesGrow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var runs []time.Time
		bad := Loop{Name: "bad", Run: func(context.Context) error {
			runs = append(runs, time.Now())
			return errors.New("no space left on device")
		}}
		s := start(t, quiet(), bad)
		<-time.After(time.Hour)
		synctest.Wait()
		if f := s.Failures(); len(f) != 1 || f[0].Error != "no space left on device" || f[0].Failures != len(runs) {
			t.Errorf("%d runs, shown is %+v", len(runs), f)
		}
		s.Close()
		for i := 1; i < len(runs); i++ {
			if got, want := runs[i].Sub(runs[i-1]), min(firstPause<<(i-1), lastPause); got != want {
				t.Errorf("pause %d is %s, want %s", i, got, want)
			}
		}
	})
}

// TestFailuresInARowEndWithALongRun begins to count, and to pause, anew.
func TestFailuresInARowEndWithALongRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		s := start(t, quiet(), Loop{Name: "late", Run: func(context.Context) error {
			if runs++; runs == 3 {
				<-time.After(2 * settled)
			}
			return errors.New("bad luck")
		}})
		<-time.After(firstPause + 2*firstPause + 2*settled + firstPause/2)
		synctest.Wait()
		if f := s.Failures(); runs != 3 || len(f) != 1 || f[0].Failures != 1 {
			t.Errorf("%d runs, shown is %+v", runs, f)
		}
		s.Close()
	})
}

func TestLoopThatReturnsNilHasEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		s := start(t, quiet(), Loop{Name: "once", Run: func(context.Context) error { runs++; return nil }})
		<-time.After(time.Hour)
		synctest.Wait()
		if f := s.Failures(); runs != 1 || len(f) != 0 {
			t.Errorf("%d runs, shown is %+v", runs, f)
		}
		s.Close()
	})
}

func TestCloseNamesALoopThatIgnoresItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		release, closed := make(chan struct{}), make(chan struct{})
		d := &diary{}
		s := start(t, slog.New(slog.NewTextHandler(&out, nil)), d.loop("base"),
			Loop{Name: "deaf", Needs: []string{"base"}, Run: func(context.Context) error { <-release; return nil }})
		go func() { s.Close(); close(closed) }()
		<-time.After(endGrace + time.Millisecond)
		synctest.Wait()
		if text := out.String(); !strings.Contains(text, "loop=deaf") || strings.Contains(text, "loop=base") {
			t.Errorf("the log names another loop, or none: %s", text)
		}
		select {
		case <-closed:
			t.Error("what the loop uses would be closed under it")
		default:
		}
		if slices.Contains(d.lines, "-base") {
			t.Error("the loop that is needed has ended first")
		}
		close(release)
		<-closed
	})
}

func TestCloseEndsAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, quiet(), Loop{Name: "bad", Run: func(context.Context) error { return errors.New("bad") }})
		<-time.After(10 * time.Minute) // in the longest pause
		synctest.Wait()
		before := time.Now()
		s.Close()
		if took := time.Since(before); took != 0 {
			t.Errorf("Close waited %s for a pause", took)
		}
	})
}

func TestSignalsBeforeALookAreOne(t *testing.T) {
	t.Parallel()
	s := NewSignal()
	for range 3 {
		s.Set()
	}
	<-s.C()
	select {
	case <-s.C():
		t.Error("a signal is seen twice")
	default:
	}
}
