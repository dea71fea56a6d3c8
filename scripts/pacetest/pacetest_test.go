package pacetest

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

func TestEnterLetsTheFirstInWhateverTheLoad(t *testing.T) {
	busy(t)
	dir := t.TempDir()
	in, err := enter(dir, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := taken(dir); n != 1 || err != nil {
		t.Errorf("%d in, %v; want 1", n, err)
	}
	if !isIn(dir, t.Name()) {
		t.Error("one that has entered is not in")
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if n, err := taken(dir); n != 0 || err != nil {
		t.Errorf("%d in after the end, %v; want 0", n, err)
	}
	if isIn(dir, t.Name()) { // its name is left, as after a kill
		t.Error("one whose lock has ended counts as in")
	}
}

// TestEnterWaitsWhileTheProcessorsAreBusy has a second one ask while no processor is idle.
func TestEnterWaitsWhileTheProcessorsAreBusy(t *testing.T) {
	busy(t)
	dir := t.TempDir()
	first, err := enter(dir, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	var left atomic.Bool
	ended := make(chan error, 1)
	go func() {
		second, err := enter(dir, t.Name())
		if err == nil {
			if !left.Load() {
				t.Error("the second came in beside the first, on processors that were never idle")
			}
			err = second.Close()
		}
		ended <- err
	}()
	time.Sleep(2 * measured) // in which it could have come in
	left.Store(true)
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestEnterCountsATestOnce(t *testing.T) {
	for range 2 { // a second one would wait for the first, whose test is this one
		Enter(t)
	}
	t.Run("sub", func(t *testing.T) { Enter(t) })
	if n, err := taken(dir()); n < 1 || err != nil {
		t.Errorf("%d in, %v", n, err)
	}
}

func TestUntil(t *testing.T) {
	t.Parallel()
	n := 0
	if !Until(time.Minute, func() bool { n++; return n == 3 }) || n != 3 {
		t.Errorf("ended after %d looks, want 3", n)
	}
	if Until(0, func() bool { return false }) {
		t.Error("what never holds is said to")
	}
}

// busy keeps all processors busy until the test ends.
func busy(t *testing.T) {
	var stop atomic.Bool
	t.Cleanup(func() { stop.Store(true) })
	for range 2 * runtime.NumCPU() {
		go func() {
			for !stop.Load() {
			}
		}()
	}
}
