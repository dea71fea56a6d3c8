//go:build e2e

package cli_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/drill"
)

// moved is a cluster whose primary is moved while a writer writes.
type moved struct {
	*lab
	*drill.Run
	cfg   drill.Config
	moves []move
}

// move is a change of primary, or another deed that the writer notices.
type move struct {
	what, from, to string
	// at is when it began by the clock. The others are times of the writer.
	at           time.Time
	began, ended time.Duration
	// promoted is from the beginning to the recorded promotion, fence how long the fence
	// took, cut when a session through the endpoint was cut off.
	promoted, fence, cut time.Duration
}

// writing starts the writer.
func (l *lab) writing() *moved {
	l.t.Helper()
	var c appliance.Connection
	if err := json.Unmarshal([]byte(l.ok("url", "--role", "any", "--show-password", "-o", "json")), &c); err != nil {
		l.t.Fatal(err)
	}
	cfg := drill.Config{Members: c.Hosts, Database: c.Database, User: c.User, Password: appliance.NewSecret(c.Password), Writers: 1, Pause: pollEvery}
	run, err := drill.Start(context.WithoutCancel(l.t.Context()), cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { run.Stop() })
	d := &moved{lab: l, Run: run, cfg: cfg}
	d.written()
	return d
}

// written waits until more rows are acknowledged.
func (d *moved) written() {
	d.t.Helper()
	want := d.Acknowledged() + 10
	d.until(d.limit, "the writer writes", func() bool { return d.Acknowledged() >= want })
}

func (d *moved) begins(what string) move {
	d.t.Helper()
	return move{what: what, from: d.status().Primary, at: time.Now(), began: d.Since()}
}

// ends wants the move to have succeeded, and the writer to write again.
func (d *moved) ends(m move, to string) {
	d.t.Helper()
	s := d.led(to)
	m.to, m.ended = to, d.Since()
	if n := len(s.Promotions); n > 0 {
		m.promoted = s.Promotions[n-1].At.Sub(m.at)
	}
	d.moves = append(d.moves, m)
	d.written()
}

// leads makes the member the primary by a switchover, unless it is.
func (d *moved) leads(member string) {
	d.t.Helper()
	m := d.begins("switchover")
	if m.from != member {
		d.ok("switchover", "--to", member)
		d.ends(m, member)
	}
}

// replaces has the primary, which kill ends, replaced by a failover. Whichever standby has
// most becomes the primary.
func (d *moved) replaces(what string, kill func()) {
	d.t.Helper()
	m := d.begins(what)
	kill()
	m.fence = d.failover(func(args ...string) { d.ok(args...) })
	to := d.status().Primary
	if to == m.from {
		d.t.Fatalf("%s: %s is still the primary", what, to)
	}
	d.ends(m, to)
}

// failover runs the command, and returns how long the fence took.
func (d *moved) failover(run func(args ...string)) time.Duration {
	d.t.Helper()
	over, took := make(chan struct{}), make(chan time.Duration)
	go func() {
		var first, last time.Time
		for {
			o := d.lastOperation()
			if o.Kind == appliance.OpFailover && !o.State.Final() && strings.HasPrefix(step(o, "change").Progress.Detail, "killing") {
				last = time.Now()
				if first.IsZero() {
					first = last
				}
			}
			select {
			case <-over:
				took <- last.Sub(first)
				return
			case <-time.After(pollEvery):
			}
		}
	}()
	run("failover", "--yes")
	close(over)
	return <-took
}

// kept ends the writer, wants the cluster to be sound, and prints how long everything
// took.
func (d *moved) kept() {
	d.t.Helper()
	h := d.Stop()
	for _, f := range drill.Check(d.t.Context(), d.drilled(), h) {
		d.t.Error(f)
	}
	d.t.Logf("%d rows were acknowledged; times in seconds:", len(h.Acknowledged()))
	for _, m := range d.moves {
		d.t.Logf("%-40s %s to %s: fence %.1f, promoted %.1f, first row %.1f, all stream %.1f; longest pause %.1f", m.what, m.from, m.to,
			m.fence.Seconds(), m.promoted.Seconds(), firstRow(h, m).Seconds(), (m.ended - m.began).Seconds(), h.Outage(m.began, m.ended).Seconds())
		if pause := h.Outage(m.began, m.ended); m.to == "" && pause > measuredBoot {
			d.t.Errorf("%s: no commit for %s, longer than a boot", m.what, pause)
		}
	}
}

// drilled is the cluster as the checker sees it.
func (d *moved) drilled() drill.Cluster {
	status := func(ctx context.Context) (appliance.ClusterStatus, error) { return d.client.Status(ctx, "main") }
	return drill.Cluster{Config: d.cfg, Status: status, Settle: max(measuredBoot, time.Minute)}
}

// firstRow is how long after the move's beginning the next primary acknowledged a row.
func firstRow(h drill.History, m move) time.Duration {
	rows := h.Acknowledged()
	i := slices.IndexFunc(rows, func(w drill.Write) bool { return w.Told > m.began && w.Member == m.to })
	if i < 0 {
		return 0
	}
	return rows[i].Told - m.began
}
