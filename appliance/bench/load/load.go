package load

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"pgapp/appliance"
)

// Outcome is what came of a request.
type Outcome struct {
	// Kind is categories, browse, search, film, rentals, rent, return or pay.
	Kind  string
	Write bool
	// Member is who answered.
	Member     string
	Redirected bool
	Retries    int
	// Refused is set where the site refused the request by its rules.
	Refused bool
	// Missed is set where a read did not show the client's own writes.
	Missed bool
	// Failure is the SQLSTATE of a failed request, or what failed besides PostgreSQL.
	Failure string
}

// Client makes one request after the other.
type Client interface {
	Do(ctx context.Context) Outcome
}

// Config says what is driven, and how.
type Config struct {
	Load appliance.BenchLoad
	// Client returns client i, from 0.
	Client func(i int) Client
	// Lag returns how much of the log each standby has still to replay; nil: nobody asks.
	Lag func() map[string]int64
	// Begin is called at the end of the warm-up, and End when the last request has ended;
	// nil: nobody is told.
	Begin, End func()
	// Event happens in the middle of the measurement; nil: nothing happens.
	Event func(ctx context.Context) error
}

// Measured is what a load has measured.
type Measured struct {
	Result appliance.BenchResult
	// StartedAt is the end of the warm-up.
	StartedAt time.Time
	// Outage is the event's cost; nil without an event.
	Outage *appliance.BenchOutage
	// Partial is set where ctx ended before the load.
	Partial bool
}

// Run drives the load. Where ctx ends before, what was measured is returned without an
// error. An error of the event comes with what was measured. A load that has measured
// nothing by its end, as one whose clients waited all the time or whose requests all failed,
// is a problem precondition.
func Run(ctx context.Context, cfg Config) (Measured, error) {
	d := newDriver(cfg)
	side, stop := context.WithCancel(ctx)
	var beside, clients sync.WaitGroup
	beside.Go(func() { d.measureLag(side) })
	beside.Go(func() { d.strike(ctx, side) })
	beside.Go(func() { d.beginMeasuring(side) })
	for i := range cfg.Load.Clients {
		clients.Go(func() { d.client(ctx, i) })
	}
	clients.Wait()
	end := d.end(ctx)
	if d.End != nil {
		d.End()
	}
	m, err := d.rec.measured(end)
	m.Partial = ctx.Err() != nil
	stop()
	beside.Wait()
	if err = errors.Join(err, d.eventErr); err == nil && !m.Partial {
		err = m.empty()
	}
	return m, err
}

// empty says why there is nothing to be seen in what was measured, nil where there is.
func (m Measured) empty() error {
	failed, most := int64(0), ""
	for what, n := range m.Result.Errors {
		failed += n
		if n > m.Result.Errors[most] || n == m.Result.Errors[most] && what < most {
			most = what
		}
	}
	switch {
	case m.Result.Requests == 0:
		return appliance.NewProblem(appliance.ErrPrecondition, "nothing was measured: no request began between the warm-up and the end").
			WithHint("pgapp ps shows whether the cluster answers; with a low rate, measure for longer")
	case failed == m.Result.Requests:
		return appliance.NewProblem(appliance.ErrPrecondition, "nothing was measured: all %d requests failed, most of them with %s", failed, most).
			WithHint("pgapp ps shows whether the cluster answers, and pgapp logs why it doesn't")
	}
	return nil
}

// driver is one run of a load.
type driver struct {
	Config
	began time.Time
	// from and to are the bounds of the measurement; requests that begin in it count.
	from, to time.Time
	rec      *recorder
	mu       sync.Mutex // of arrivals
	arrivals *arrivals
	eventErr error // read after all has ended
}

func newDriver(cfg Config) *driver {
	began := time.Now()
	from := began.Add(seconds(cfg.Load.WarmupSeconds))
	to := from.Add(seconds(cfg.Load.DurationSeconds))
	d := &driver{Config: cfg, began: began, from: from, to: to, rec: newRecorder(from, to)}
	if cfg.Load.Rate > 0 {
		d.arrivals = newArrivals(cfg.Load.Seed, cfg.Load.Rate)
	}
	return d
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

const (
	// Overdue is how long after the end of an open loop its requests still begin: with a
	// rate above what the site carries the rest would take for ever.
	Overdue = 30 * time.Second
	// NotBegun is the failure of those that have not begun by then.
	NotBegun = "not begun"
)

// pausesSource keeps a client's pauses apart from its requests.
const pausesSource = 1 << 20

// end is when the load ended: not before its time, unless ctx ended it.
func (d *driver) end(ctx context.Context) time.Time {
	restUntil(ctx, d.to)
	return time.Now()
}

// client has one client make requests until the end.
func (d *driver) client(ctx context.Context, i int) {
	c, pauses := d.Client(i), chance(d.Load.Seed, pausesSource+i)
	for {
		intended, free, ok := d.turn(ctx, pauses)
		if !ok {
			return
		}
		start := time.Now()
		if start.Sub(d.to) > Overdue {
			d.rec.add(request{Outcome: Outcome{Failure: NotBegun}, intended: intended, start: start, end: start, open: true})
			continue
		}
		out := c.Do(ctx)
		if ctx.Err() != nil {
			return // its end is the end of ctx
		}
		d.rec.add(request{Outcome: out, intended: intended, start: start, end: time.Now(), waited: free, open: d.arrivals != nil})
	}
}

// turn waits until the client's next request is to begin. free tells that the client was
// there before.
func (d *driver) turn(ctx context.Context, pauses *rand.Rand) (intended time.Time, free, ok bool) {
	now := time.Now()
	switch {
	case d.arrivals != nil:
		d.mu.Lock()
		intended = d.began.Add(d.arrivals.next())
		d.mu.Unlock()
	case d.Load.ThinkMillis > 0:
		intended = now.Add(seconds(pauses.ExpFloat64() * d.Load.ThinkMillis / 1000))
	default:
		intended = now
	}
	if !intended.Before(d.to) || !restUntil(ctx, intended) {
		return intended, false, false
	}
	if d.arrivals == nil {
		intended = time.Now()
	}
	return intended, intended.After(now), true
}

// restUntil waits, and returns false when ctx ends first.
func restUntil(ctx context.Context, at time.Time) bool {
	left := time.Until(at)
	if left <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// beginMeasuring notes what the driver has used at the end of the warm-up.
func (d *driver) beginMeasuring(ctx context.Context) {
	if restUntil(ctx, d.from) {
		d.rec.begin(processorTime())
		if d.Begin != nil {
			d.Begin()
		}
	}
}

// strike has the event happen in the middle of the measurement.
// The load's end does not end it.
func (d *driver) strike(ctx, load context.Context) {
	if d.Event == nil || !restUntil(load, d.from.Add(d.to.Sub(d.from)/2)) {
		return
	}
	d.rec.event(time.Now())
	d.eventErr = d.Event(ctx)
}

// measureLag notes the standbys' lag each second.
func (d *driver) measureLag(ctx context.Context) {
	if d.Lag == nil {
		return
	}
	for at := d.from.Add(time.Second); !at.After(d.to) && restUntil(ctx, at); at = at.Add(time.Second) {
		d.rec.lag(at.Add(-time.Second), d.Lag())
	}
}
