// Command sim plays changes of primary in a simulated world, each from a seed, and
// looks for a commit that was acknowledged and lost, two members that acknowledge, a
// standby on a foreign fork, and a change that never ends.
//
//	go run ./scripts/sim [-seeds N] [-seed FIRST]     play N seeds
//	go run ./scripts/sim -seeds 1 -seed N -v          play one and print it
//	go run ./scripts/sim -watch ...                   the same for failovers that begin by themselves
//	go run ./scripts/sim -endpoints ...               the same for changes with endpoints that follow
//	go run ./scripts/sim -mutations                   find each mutation of the core
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"pgapp/scripts/sim/mutations"
	"pgapp/scripts/sim/routeworld"
	"pgapp/scripts/sim/watchworld"
	"pgapp/scripts/sim/world"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	seeds := flag.Uint64("seeds", 10_000, "how many seeds to play")
	first := flag.Uint64("seed", 1, "the first seed")
	verbose := flag.Bool("v", false, "print what happens")
	all := flag.Bool("mutations", false, "find each mutation of the core")
	watch := flag.Bool("watch", false, "play failovers that begin by themselves")
	endpoints := flag.Bool("endpoints", false, "play changes of primary with endpoints that follow")
	flag.Parse()
	game := changes
	switch {
	case *watch:
		game = failovers
	case *endpoints:
		game = routed
	}
	run := func() error { return play(game, *first, *seeds, *verbose) }
	if *all {
		run = func() error { return mutations.Find(ctx, os.Stdout) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

// changes plays one seed of changes of primary, and failovers one of a cluster that
// keeps itself. Both return their number.
func changes(seed uint64, log io.Writer) (int, error) {
	w, err := world.Run(seed, log)
	return w.Changes, err
}

func failovers(seed uint64, log io.Writer) (int, error) {
	w, err := watchworld.Run(seed, log)
	return w.Failovers, err
}

func routed(seed uint64, log io.Writer) (int, error) {
	r, err := routeworld.Run(seed, log)
	return r.Changes, err
}

func play(game func(seed uint64, log io.Writer) (int, error), first, seeds uint64, verbose bool) error {
	log := io.Discard
	if verbose {
		log = os.Stdout
	}
	played := 0
	for seed := first; seed < first+seeds; seed++ {
		n, err := game(seed, log)
		if err != nil {
			return err
		}
		played += n
	}
	fmt.Printf("%d changes of primary in %d seeds, nothing lost\n", played, seeds)
	return nil
}
