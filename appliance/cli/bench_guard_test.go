package cli

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/bench"
	"pgapp/appliance/home"
)

// TestGuardianHeedsItsDismissal has a suite end that could not record what it has put back, as
// on a full disk. It holds the benches' lock, and waits for its guardian.
func TestGuardianHeedsItsDismissal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := benchCommands{drillCommands{&app{link: link{home: dir}}}}
	if want := dir + "/" + home.BenchesDir; a.benches().Dir != want {
		t.Fatalf("the benches are in %s, want %s", a.benches().Dir, want)
	}
	b := appliance.Bench{ID: bench.NewID(time.Now()), Kind: appliance.BenchSuite, State: appliance.BenchRunning, Before: &appliance.BenchBefore{}}
	if err := a.benches().Save(b); err != nil {
		t.Fatal(err)
	}
	release, err := a.benches().Claim(b.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	a.In = r
	waits := make(chan error, 1)
	go func() { waits <- a.benchGuard(t.Context(), b.ID) }()
	(&guardian{alive: w}).bid()
	if err := <-waits; err != nil {
		t.Errorf("a guardian that was dismissed: %v", err)
	}
	a.In = strings.NewReader("") // of one that was killed
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := a.benchGuard(ctx, b.ID); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a guardian of a suite that was killed does not wait for the lock: %v", err)
	}
}
