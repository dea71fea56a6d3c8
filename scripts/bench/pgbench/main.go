// Command pgbench drives one statement by pgbench and by pgapp's own driver of loads in
// turn, and prints throughput and median of each round:
// go run ./scripts/bench/pgbench PGBENCH "$(pgapp url --role rw --only members --show-password)".
// The exit code is 1 where the medians of the rounds differ by more than 10 % in
// throughput, or by more than 20 % in the median time.
package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"pgapp/appliance"
	"pgapp/appliance/bench/load"
)

const (
	rounds  = 5
	clients = 4
	seconds = 5
	most    = 500
	// sql counts a customer's rentals; %s is the customer. Pagila has no index for it, so it
	// takes about as long as a page of the site, and the drivers' own work little of it.
	sql = `SELECT count(*), max(rental_date) FROM public.rental WHERE customer_id = %s`
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pgbench:", err)
		os.Exit(1)
	}
}

// figures are what a round has measured.
type figures struct{ perSecond, median float64 }

func run(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("it takes the path of pgbench and a connection string, not %d arguments", len(args))
	}
	dir, err := os.MkdirTemp("", "pgbench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var theirs, ours []figures
	for n := 1; n <= rounds; n++ {
		a, err := byPgbench(ctx, args[0], args[1], filepath.Join(dir, strconv.Itoa(n)))
		if err != nil {
			return err
		}
		b, err := byLoad(ctx, args[1])
		if err != nil {
			return err
		}
		fmt.Printf("round %d: pgbench %.0f a second, median %.3f ms; bench %.0f a second, median %.3f ms\n", n, a.perSecond, a.median, b.perSecond, b.median)
		theirs, ours = append(theirs, a), append(ours, b)
	}
	return compare(theirs, ours)
}

// compare compares the medians of the rounds.
func compare(theirs, ours []figures) error {
	for _, of := range []struct {
		name  string
		value func(figures) float64
		limit float64
	}{
		{"throughput", func(f figures) float64 { return f.perSecond }, 0.10},
		{"median time", func(f figures) float64 { return f.median }, 0.20},
	} {
		middle := func(all []figures) float64 {
			var list []float64
			for _, f := range all {
				list = append(list, of.value(f))
			}
			slices.Sort(list)
			return list[len(list)/2]
		}
		a, b := middle(theirs), middle(ours)
		fmt.Printf("%s: %.3f by pgbench, %.3f by bench: %+.1f %%\n", of.name, a, b, (b/a-1)*100)
		if math.Abs(b/a-1) > of.limit {
			return fmt.Errorf("the %s differs by more than %.0f %%", of.name, of.limit*100)
		}
	}
	return nil
}

// byPgbench drives the statement by pgbench, whose log has a line for each transaction.
func byPgbench(ctx context.Context, path, conn, dir string) (figures, error) {
	var f figures
	if err := os.Mkdir(dir, 0o700); err != nil {
		return f, err
	}
	script := filepath.Join(dir, "statement.sql")
	text := "\\set id random(1, " + strconv.Itoa(most) + ")\n" + fmt.Sprintf(sql, ":id") + ";\n"
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		return f, err
	}
	cmd := exec.CommandContext(ctx, path, "-n", "-M", "prepared", "-f", script, "-c", strconv.Itoa(clients), "-T", strconv.Itoa(seconds), "-l", "--log-prefix", filepath.Join(dir, "log"), conn) // #nosec G204 -- the developer's own program
	out, err := cmd.CombinedOutput()
	if err != nil {
		return f, fmt.Errorf("running pgbench: %w: %s", err, out)
	}
	_, rest, _ := strings.Cut(string(out), "tps = ")
	word, _, _ := strings.Cut(rest, " ")
	if f.perSecond, err = strconv.ParseFloat(word, 64); err != nil {
		return f, fmt.Errorf("reading what pgbench says: %w", err)
	}
	f.median, err = loggedMedian(dir)
	return f, err
}

// loggedMedian is the median of the third column of pgbench's logs, in milliseconds.
func loggedMedian(dir string) (float64, error) {
	logs, err := filepath.Glob(filepath.Join(dir, "log*"))
	if err != nil {
		return 0, err
	}
	var all []float64
	for _, name := range logs {
		text, err := os.ReadFile(name) // #nosec G304 -- below a directory of its own
		if err != nil {
			return 0, err
		}
		for line := range bytes.Lines(text) {
			micros, err := strconv.ParseFloat(strings.Fields(string(line))[2], 64)
			if err != nil {
				return 0, fmt.Errorf("reading pgbench's log: %w", err)
			}
			all = append(all, micros/1000)
		}
	}
	if len(all) == 0 {
		return 0, fmt.Errorf("pgbench has logged nothing")
	}
	slices.Sort(all)
	return all[len(all)/2], nil
}

// statement is a client that makes the statement again and again.
type statement struct{ conn *pgx.Conn }

func (s statement) Do(ctx context.Context) load.Outcome {
	out := load.Outcome{Kind: "rentals"}
	var count int
	var last *time.Time
	err := s.conn.QueryRow(ctx, fmt.Sprintf(sql, "$1"), rand.IntN(most)+1).Scan(&count, &last) // #nosec G404 -- no secret
	if err != nil {
		out.Failure = err.Error()
	}
	return out
}

// byLoad drives the statement by the driver of loads.
func byLoad(ctx context.Context, conn string) (figures, error) {
	list := make([]statement, clients)
	for i := range list {
		c, err := pgx.Connect(ctx, conn)
		if err != nil {
			return figures{}, fmt.Errorf("connecting: %w", err)
		}
		defer func() { _ = c.Close(ctx) }()
		list[i] = statement{c}
	}
	m, err := load.Run(ctx, load.Config{
		Load: appliance.BenchLoad{Clients: clients, DurationSeconds: seconds}, Client: func(i int) load.Client { return list[i] },
	})
	if err == nil && (len(m.Result.Errors) > 0 || m.Partial) {
		err = fmt.Errorf("requests failed: %v", m.Result.Errors)
	}
	return figures{m.Result.PerSecond, m.Result.Kinds["all"].P50}, err
}
