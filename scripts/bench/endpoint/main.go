// Command endpoint measures read-only pgbench directly, through HAProxy, through the rw
// endpoint, and as root through one that the kernel leads, in turn in one run. It prints the
// median, the spread and the ratio to direct of each, and what a transaction costs the
// process in between of a processor's time, which says more on a machine that does other
// things too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/endpoint"
	"pgapp/appliance/endpoint/kernel"
	"pgapp/appliance/wait"
	"pgapp/scripts/drive"
)

type options struct {
	bin             string
	rounds, seconds int
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "./pgapp", "the program to measure")
	flag.IntVar(&o.rounds, "rounds", 10, "number of rounds")
	flag.IntVar(&o.seconds, "seconds", 5, "length of a round for each way")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "endpoint:", err)
		os.Exit(1)
	}
}

// bench is a cluster, the address of each way to its primary, and the process in between.
type bench struct {
	options
	url   string
	ways  map[string]string
	relay map[string]int
}

func (o options) run(ctx context.Context) (err error) {
	c, err := drive.Up(ctx, o.bin, "/var/tmp", "--standbys", "0", "--dataset", "none", "--endpoint", "off") // the bench has its own
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Down(ctx)) }()
	st, err := c.Status(ctx)
	if err != nil {
		return err
	}
	out, err := c.Pgapp(ctx, "url", "--role", "rw", "--show-password")
	if err != nil {
		return err
	}
	direct := net.JoinHostPort(st.Members[0].Host, strconv.Itoa(st.Members[0].Port))
	b := bench{options: o, url: strings.TrimSpace(string(out)), ways: map[string]string{"direct": direct}, relay: map[string]int{}}
	stop, err := b.haproxy(ctx, c.Home(), direct)
	if err != nil {
		return err
	}
	defer stop()
	if err := b.pgapp(ctx, c.Home(), direct); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, endpoint.Client{Home: c.Home()}.Stop(context.WithoutCancel(ctx))) }()
	if os.Geteuid() == 0 {
		remove, err := b.kernel(ctx, c.Home(), direct)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, remove()) }()
	}
	return b.measure(ctx)
}

// kernel has the kernel lead connections.
func (b *bench) kernel(ctx context.Context, home, to string) (remove func() error, err error) {
	if err := kernel.Probe(ctx); err != nil {
		return nil, err
	}
	at, err := free(ctx)
	if err != nil {
		return nil, err
	}
	b.ways["kernel"] = at
	path := kernel.Path{Home: home}
	return func() error { return path.Remove(context.WithoutCancel(ctx)) }, path.Apply(ctx, nil, []appliance.Route{{
		Cluster: "main", RW: at, Kernel: true, Primary: &appliance.RouteMember{Name: "node0", Address: to},
	}})
}

// free is a loopback address that nobody listens at.
func free(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// haproxy starts HAProxy in TCP mode.
func (b *bench) haproxy(ctx context.Context, dir, to string) (stop func(), err error) {
	at, err := free(ctx)
	if err != nil {
		return nil, err
	}
	b.ways["HAProxy"] = at
	file := filepath.Join(dir, "haproxy.cfg")
	text := "defaults\n mode tcp\n option splice-auto\n timeout connect 5s\n timeout client 1h\n timeout server 1h\nlisten pg\n bind " + at + "\n server primary " + to + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "haproxy", "-db", "-f", file)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting HAProxy (apt-get install haproxy): %w", err)
	}
	b.relay["HAProxy"] = cmd.Process.Pid
	return func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }, nil
}

// pgapp starts the endpoint process.
func (b *bench) pgapp(ctx context.Context, home, to string) error {
	at, err := free(ctx)
	if err != nil {
		return err
	}
	bin, err := filepath.Abs(b.bin)
	if err != nil {
		return err
	}
	b.ways["pgapp"] = at
	routes := appliance.Routes{Number: 1, Clusters: []appliance.Route{{
		Cluster: "main", RW: at, Wait: 10 * time.Second, Primary: &appliance.RouteMember{Name: "node0", Address: to},
	}}}
	status, err := endpoint.Ensure(ctx, endpoint.Program{
		Home: home, Build: "bench", Routes: routes, Argv: []string{bin, "endpoint-process", "--home", home},
	})
	b.relay["pgapp"] = status.PID
	return err
}

func (b *bench) measure(ctx context.Context) error {
	if _, err := b.pgbench(ctx, "direct", "-i", "-q", "-s", "10"); err != nil {
		return err
	}
	ways := slices.DeleteFunc([]string{"direct", "HAProxy", "pgapp", "kernel"}, func(way string) bool { return b.ways[way] == "" })
	for _, way := range ways {
		if err := wait.Until(ctx, 50*time.Millisecond, func(ctx context.Context) (bool, error) {
			_, err := b.pgbench(ctx, way, "-S", "-t", "1")
			return err == nil, ctx.Err()
		}); err != nil {
			return err
		}
	}
	tps, cost := map[string][]float64{}, map[string]time.Duration{}
	for range b.rounds {
		for _, way := range ways {
			before := used(b.relay[way])
			n, err := b.pgbench(ctx, way, "-S", "-n", "-c", "8", "-T", strconv.Itoa(b.seconds))
			if err != nil {
				return err
			}
			tps[way] = append(tps[way], n)
			cost[way] += time.Duration(float64(used(b.relay[way])-before) / (n * float64(b.seconds) * float64(b.rounds)))
		}
	}
	var direct float64
	fmt.Printf("%-8s %10s %10s %10s %6s %12s\n", "way", "median/s", "lowest", "highest", "ratio", "processor")
	for _, way := range ways {
		slices.Sort(tps[way])
		all := tps[way]
		median := (all[(len(all)-1)/2] + all[len(all)/2]) / 2
		if way == "direct" {
			direct = median
		}
		fmt.Printf("%-8s %10.0f %10.0f %10.0f %6.2f %9.1f µs\n", way, median, all[0], all[len(all)-1], median/direct, float64(cost[way].Nanoseconds())/1e3)
	}
	return nil
}

// pgbench runs pgbench one way and returns its transactions per second.
func (b *bench) pgbench(ctx context.Context, way string, args ...string) (float64, error) {
	host, port, err := net.SplitHostPort(b.ways[way])
	if err != nil {
		return 0, err
	}
	url := regexp.MustCompile(`@[^/]*/`).ReplaceAllString(b.url, "@"+host+":"+port+"/")
	program, err := exec.LookPath("pgbench")
	if dir := os.Getenv("PGAPP_TEST_PGBIN"); dir != "" {
		program, err = filepath.Join(dir, "pgbench"), nil
	}
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, program, append(args, url)...) //nolint:gosec // PostgreSQL's own program
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("pgbench %s: %w\n%s", way, err, out)
	}
	m := regexp.MustCompile(`tps = ([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		return 0, nil
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// tick is the unit of /proc/PID/stat, see proc(5).
const tick = 10 * time.Millisecond

// used is the processor's time that the process has used, 0 without one.
func used(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name in parentheses may have spaces; utime and stime are the 12th and 13th after it.
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * tick
}
