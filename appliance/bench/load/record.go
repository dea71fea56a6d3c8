package load

import (
	"runtime"
	"sync"
	"syscall"
	"time"

	"pgapp/appliance"
)

const (
	// lateLimit is how late a request of an open loop may begin though a client was free:
	// above, the driver's own wait is of the size of a request to the site.
	lateLimit = 10 * time.Millisecond
	// busyLimit is the share of the processors from which on the driver may be what is
	// measured.
	busyLimit = 0.9
)

// The kinds that sum up others.
const (
	kindRead  = "read"
	kindWrite = "write"
	kindAll   = "all"
)

// request is a request and its times.
type request struct {
	Outcome
	intended, start, end time.Time
	// waited tells that the client was free when the request was to begin.
	waited bool
	open   bool
}

// recorder notes requests. Those that were to begin before the measurement don't count.
type recorder struct {
	mu sync.Mutex
	// from and to are the bounds of the measurement.
	from, to time.Time
	used     time.Duration // the process's processor time at from
	inTime   int64         // requests answered before to
	result   appliance.BenchResult
	kinds    map[string]histogram
	second   histogram // of the last second of the series
	// late are all delays of starts; own are those with a free client.
	late, own histogram
	struck    *struck
	answered  map[bool]time.Time // the last answered write and read
	failed    map[bool]time.Time // the last failed write and read
}

// struck is the event's cost so far.
type struck struct {
	at     time.Time
	gap    map[bool]time.Duration
	errors int64
}

func newRecorder(from, to time.Time) *recorder {
	return &recorder{
		from: from, to: to, kinds: map[string]histogram{}, second: newHistogram(), late: newHistogram(), own: newHistogram(),
		answered: map[bool]time.Time{}, failed: map[bool]time.Time{},
		result: appliance.BenchResult{Errors: map[string]int64{}, Answered: map[string]int64{}},
	}
}

// begin is the begin of the measurement.
func (r *recorder) begin(used time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used = used
}

// event notes that the event begins.
func (r *recorder) event(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.struck = &struck{at: at, gap: map[bool]time.Duration{}}
}

// lag notes the standbys' lag in the second that begins at the time.
func (r *recorder) lag(at time.Time, bytes map[string]int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at(at).LagBytes = bytes
}

// at is the second of the series that holds the time.
func (r *recorder) at(t time.Time) *appliance.BenchSecond {
	n := int(t.Sub(r.from) / time.Second)
	for len(r.result.Series) <= n {
		if last := len(r.result.Series) - 1; last >= 0 && r.second.TotalCount() > 0 {
			r.result.Series[last].P99 = r.second.millis(99)
			r.second.Reset()
		}
		r.result.Series = append(r.result.Series, appliance.BenchSecond{At: len(r.result.Series)})
	}
	return &r.result.Series[n]
}

// add notes a request that has ended.
func (r *recorder) add(q request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.Failure == "" {
		r.seen(q)
	} else if q.Kind != "" {
		r.failed[q.Write] = q.end
	}
	if q.intended.Before(r.from) {
		return
	}
	s := r.at(q.end)
	r.result.Requests++
	r.result.Retries += int64(q.Retries)
	if q.open {
		r.late.add(q.start.Sub(q.intended))
		if q.waited {
			r.own.add(q.start.Sub(q.intended))
		}
	}
	if q.Failure != "" {
		s.Errors++
		r.result.Errors[q.Failure]++
		if r.struck != nil && q.end.After(r.struck.at) {
			r.struck.errors++
		}
		return
	}
	r.count(q, s)
}

// count counts an answered request.
func (r *recorder) count(q request, s *appliance.BenchSecond) {
	took := q.end.Sub(q.intended)
	r.second.add(took)
	sum := kindRead
	if s.Reads++; q.Write {
		sum = kindWrite
		s.Reads--
		s.Writes++
	}
	for _, kind := range []string{q.Kind, sum, kindAll} {
		h, ok := r.kinds[kind]
		if !ok {
			h = newHistogram()
			r.kinds[kind] = h
		}
		h.add(took)
	}
	r.result.Refused += one(q.Refused)
	r.result.Redirected += one(q.Redirected)
	r.result.Missed += one(q.Missed)
	if !q.end.After(r.to) {
		r.inTime++
	}
	if q.Member != "" {
		r.result.Answered[q.Member]++
	}
}

func one(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

// seen notes when a read or a write was answered, and the gap before.
func (r *recorder) seen(q request) {
	last, ok := r.answered[q.Write]
	r.answered[q.Write] = q.end
	if ok && r.struck != nil && q.end.After(r.struck.at) {
		r.struck.gap[q.Write] = max(r.struck.gap[q.Write], q.end.Sub(last))
	}
}

// measured is what was measured until now.
func (r *recorder) measured(now time.Time) (Measured, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := Measured{Result: r.result, StartedAt: r.from}
	m.Result.Kinds = map[string]appliance.BenchLatency{}
	if len(m.Result.Series) > 0 && r.second.TotalCount() > 0 {
		m.Result.Series[len(m.Result.Series)-1].P99 = r.second.millis(99)
	}
	for kind, h := range r.kinds {
		l, err := h.latency()
		if err != nil {
			return m, err
		}
		m.Result.Kinds[kind] = l
	}
	// Requests that end after the measurement are in the distribution, not in the rate.
	end := r.to
	if now.Before(end) {
		end = now
	}
	if took := end.Sub(r.from).Seconds(); took > 0 {
		m.Result.Seconds = took
		m.Result.PerSecond = float64(r.inTime) / took
	}
	m.Result.Driver = r.driver(now)
	m.Outage = r.outage(now)
	return m, nil
}

// driver judges the driver: late is one whose requests began late though a client was
// free, or which had hardly a processor left.
func (r *recorder) driver(end time.Time) appliance.BenchDriver {
	b := appliance.BenchDriver{LateP99: r.late.millis(99), LateMax: inMillis(r.late.Max())}
	took := end.Sub(r.from)
	if r.used > 0 && took > 0 {
		b.Cores = (processorTime() - r.used).Seconds() / took.Seconds()
	}
	own := r.own.TotalCount() > 0 && r.own.millis(99) > inMillis(lateLimit.Microseconds())
	b.Late = own || b.Cores >= busyLimit*float64(runtime.GOMAXPROCS(0))
	return b
}

// outage is the event's cost. A kind that was never answered again was away until the end,
// or until the last request for it failed: after the load's time nobody asks any more. One
// that was never answered at all was away from the beginning.
func (r *recorder) outage(end time.Time) *appliance.BenchOutage {
	if r.struck == nil {
		return nil
	}
	gap := func(write bool) float64 {
		last, answered := r.answered[write]
		failed, asked := r.failed[write]
		if !answered && !asked {
			return 0
		}
		if !answered {
			last = r.from
		}
		until := r.to
		if failed.After(until) {
			until = failed
		}
		if end.Before(until) {
			until = end
		}
		return inMillis(max(r.struck.gap[write], until.Sub(last)).Microseconds())
	}
	return &appliance.BenchOutage{
		At: r.struck.at.Sub(r.from).Seconds(), WritesMillis: gap(true), ReadsMillis: gap(false), Errors: r.struck.errors,
	}
}

// processorTime is what the process has used of the processors.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
