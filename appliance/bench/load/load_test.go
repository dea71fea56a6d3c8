package load

import (
	"context"
	"encoding/base64"
	"errors"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"pgapp/appliance"
)

// near tells whether two numbers agree to three digits.
func near(a, b float64) bool { return math.Abs(a-b) <= 0.001*math.Abs(b) }

func TestHistogramIsExactToThreeDigits(t *testing.T) {
	t.Parallel()
	h := newHistogram()
	for i := 1; i <= 100_000; i++ {
		h.add(time.Duration(i) * 10 * time.Microsecond)
	}
	l, err := h.latency()
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string][2]float64{
		"mean": {l.Mean, 500}, "p50": {l.P50, 500}, "p90": {l.P90, 900}, "p95": {l.P95, 950}, "p99": {l.P99, 990}, "p99.9": {l.P999, 999}, "max": {l.Max, 1000},
	} {
		if !near(v[0], v[1]) {
			t.Errorf("%s is %v ms, %v is right", name, v[0], v[1])
		}
	}
	if l.Count != 100_000 {
		t.Errorf("%d times are counted", l.Count)
	}
	if _, err := base64.StdEncoding.DecodeString(l.Histogram); err != nil {
		t.Errorf("the histogram is not base64: %v", err)
	}
	again, err := hdrhistogram.Decode([]byte(l.Histogram))
	if err != nil || again.ValueAtPercentile(99) != h.ValueAtPercentile(99) || again.TotalCount() != l.Count {
		t.Errorf("the histogram is not the same when it is read: %v", err)
	}
}

func TestHistogramTakesAnyTime(t *testing.T) {
	t.Parallel()
	h := newHistogram()
	for _, d := range []time.Duration{-time.Second, 0, longest, 2 * longest} {
		h.add(d)
	}
	if n := h.TotalCount(); n != 4 {
		t.Errorf("%d of 4 times are counted", n)
	}
}

// TestZipfShares compares the shares of 200,000 draws with the formula's.
func TestZipfShares(t *testing.T) {
	t.Parallel()
	const n, draws = 50, 200_000
	for _, s := range []float64{0, 0.5, 0.99, 1, 2} {
		z, r := newZipf(s, n), chance(1, 0)
		var counts [n]int
		for range draws {
			counts[z.draw(r)]++
		}
		sum := 0.0
		for k := range n {
			sum += math.Pow(float64(k+1), -s)
		}
		for k, count := range counts {
			p := math.Pow(float64(k+1), -s) / sum
			if off := math.Abs(float64(count)-p*draws) / math.Sqrt(draws*p*(1-p)); off > 5 {
				t.Errorf("exponent %v: rank %d was drawn %d times, %.0f is right", s, k, count, p*draws)
			}
		}
	}
}

// fake answers at once after a time of its own, except while it stalls.
type fake struct {
	takes       time.Duration
	stall, over time.Time
	write       bool
	failure     string
	inStall     atomic.Int64
}

func (f *fake) Do(ctx context.Context) Outcome {
	if now := time.Now(); !now.Before(f.stall) && now.Before(f.over) {
		f.inStall.Add(1)
		restUntil(ctx, f.over)
	}
	restUntil(ctx, time.Now().Add(f.takes))
	return Outcome{Kind: kindFilm, Write: f.write, Member: "node1", Failure: f.failure}
}

// TestOpenLoopCountsFromTheIntendedStart stalls the site for a second and compares the
// percentiles with those of the arithmetic: who was to begin within the stall waits for
// its end. With few clients most of them had to wait for a client too.
func TestOpenLoopCountsFromTheIntendedStart(t *testing.T) {
	t.Parallel()
	for _, clients := range []int{2, 2000} {
		synctest.Test(t, func(t *testing.T) {
			l := appliance.BenchLoad{Clients: clients, Rate: 500, WarmupSeconds: 1, DurationSeconds: 5, Seed: 7}
			from := time.Now().Add(time.Second)
			f := &fake{stall: from.Add(2 * time.Second), over: from.Add(3 * time.Second)}
			m, err := Run(t.Context(), Config{Load: l, Client: func(int) Client { return f }})
			if err != nil {
				t.Fatal(err)
			}
			var want []float64
			for a := newArrivals(l.Seed, l.Rate); ; {
				at := a.next() - time.Second
				if at >= 5*time.Second {
					break
				}
				if at >= 0 {
					latency := time.Microsecond
					if at >= 2*time.Second && at < 3*time.Second {
						latency = 3*time.Second - at
					}
					want = append(want, latency.Seconds()*1000)
				}
			}
			slices.Sort(want)
			got := m.Result.Kinds[kindAll]
			if got.Count != int64(len(want)) || m.Result.Requests != got.Count {
				t.Fatalf("%d clients: %d requests are counted, %d arrived", clients, got.Count, len(want))
			}
			for p, v := range map[float64]float64{50: got.P50, 90: got.P90, 95: got.P95, 99: got.P99, 99.9: got.P999, 100: got.Max} {
				right := want[max(int(math.Ceil(p/100*float64(len(want))))-1, 0)]
				if !near(v, right) && math.Abs(v-right) > 0.002 {
					t.Errorf("%d clients: p%v is %v ms, arithmetic says %v", clients, p, v, right)
				}
			}
			if late := m.Result.Driver.LateMax > 900; late != (clients == 2) || m.Result.Driver.Late {
				t.Errorf("%d clients: driver %+v", clients, m.Result.Driver)
			}
			if n := f.inStall.Load(); clients == 2 && n != 2 {
				t.Errorf("%d requests began in the stall, which 2 clients can't", n)
			}
		})
	}
}

// TestClosedLoop counts what clients with a constant answer's time must do.
func TestClosedLoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: 10 * time.Millisecond}
		l := appliance.BenchLoad{Clients: 4, WarmupSeconds: 2, DurationSeconds: 5}
		m, err := Run(t.Context(), Config{Load: l, Client: func(int) Client { return f }, Lag: func() map[string]int64 { return map[string]int64{"node1": 5} }})
		r := m.Result
		if err != nil || r.Requests != 4*500 || r.PerSecond != 400 || r.Seconds != 5 || r.Answered["node1"] != r.Requests || m.Partial || m.Outage != nil {
			t.Errorf("%d requests, %v a second in %v s, answered %v, error %v", r.Requests, r.PerSecond, r.Seconds, r.Answered, err)
		}
		for _, s := range r.Series[:5] {
			if s.Reads < 396 || s.Reads > 404 || s.Writes != 0 || !near(s.P99, 10) || s.LagBytes["node1"] != 5 {
				t.Errorf("second %+v", s)
			}
		}
	})
}

func TestThinkTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := appliance.BenchLoad{Clients: 10, ThinkMillis: 100, DurationSeconds: 100}
		m, err := Run(t.Context(), Config{Load: l, Client: func(int) Client { return &fake{} }})
		if err != nil || m.Result.PerSecond < 95 || m.Result.PerSecond > 105 || m.Result.Kinds[kindAll].Max > 0.002 {
			t.Errorf("%v a second, the longest %v ms, error %v: 10 clients that think for 100 ms make 100", m.Result.PerSecond, m.Result.Kinds[kindAll].Max, err)
		}
	})
}

// TestCancelKeepsWhatWasMeasured ends a load after three of its ten seconds.
func TestCancelKeepsWhatWasMeasured(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		f := &fake{takes: 100 * time.Millisecond}
		m, err := Run(ctx, Config{Load: appliance.BenchLoad{Clients: 1, DurationSeconds: 10}, Client: func(int) Client { return f }})
		if err != nil || !m.Partial || m.Result.Seconds != 3 || m.Result.Requests < 29 || m.Result.Requests > 30 || len(m.Result.Errors) > 0 {
			t.Errorf("partial %t, %v s, %d requests, errors %v, error %v", m.Partial, m.Result.Seconds, m.Result.Requests, m.Result.Errors, err)
		}
	})
}

// TestEventsOutage stalls the site from the event on.
func TestEventsOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		at := time.Now().Add(6 * time.Second)
		writes := &fake{takes: 10 * time.Millisecond, write: true, stall: at, over: at.Add(1500 * time.Millisecond)}
		reads := &fake{takes: 10 * time.Millisecond}
		failed := errors.New("the event failed")
		m, err := Run(t.Context(), Config{
			Load:   appliance.BenchLoad{Clients: 2, WarmupSeconds: 1, DurationSeconds: 10},
			Client: func(i int) Client { return []Client{writes, reads}[i] },
			Event:  func(context.Context) error { return failed },
		})
		if !errors.Is(err, failed) || m.Outage == nil {
			t.Fatalf("error %v, outage %v", err, m.Outage)
		}
		if o := m.Outage; o.At != 5 || math.Abs(o.WritesMillis-1510) > 11 || o.ReadsMillis > 11 || o.Errors != 0 {
			t.Errorf("the outage is %+v", o)
		}
	})
}

// TestOutageOfOneKindIsNotAnothers has a write outlast the load: nobody reads in that time.
func TestOutageOfOneKindIsNotAnothers(t *testing.T) {
	t.Parallel()
	for failure, want := range map[string]float64{"": 10_000, "57P01": 11_000} { // the failed one since the load began
		synctest.Test(t, func(t *testing.T) {
			at := time.Now().Add(time.Second)
			write := &fake{takes: 10 * time.Millisecond, write: true, stall: at, over: at.Add(10 * time.Second), failure: failure}
			reads := &fake{takes: 10 * time.Millisecond}
			m, err := Run(t.Context(), Config{
				Load:   appliance.BenchLoad{Clients: 2, DurationSeconds: 2},
				Client: func(i int) Client { return []Client{write, reads}[i] },
				Event:  func(context.Context) error { return nil },
			})
			if err != nil || m.Outage == nil {
				t.Fatalf("error %v, outage %v", err, m.Outage)
			}
			if o := m.Outage; math.Abs(o.WritesMillis-want) > 21 || o.ReadsMillis > 21 {
				t.Errorf("failure %q: the outage is %+v", failure, o)
			}
		})
	}
}

// TestOpenLoopAboveWhatTheSiteCarriesEnds asks for ten times as much as one client gets
// answered. What has not begun in time is counted.
func TestOpenLoopAboveWhatTheSiteCarriesEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began, arrived := time.Now(), int64(0)
		l := appliance.BenchLoad{Clients: 1, Rate: 100, DurationSeconds: 60, Seed: 3}
		for a := newArrivals(l.Seed, l.Rate); a.next() < time.Minute; {
			arrived++
		}
		ended := time.Time{}
		m, err := Run(t.Context(), Config{Load: l, Client: func(int) Client { return &fake{takes: 100 * time.Millisecond} }, End: func() { ended = time.Now() }})
		r := m.Result
		if err != nil || m.Partial || r.Requests != arrived || r.Errors[NotBegun] != arrived-r.Kinds[kindAll].Count || r.Errors[NotBegun] < 5000 {
			t.Errorf("%d of %d requests, %d answered, errors %v, error %v", r.Requests, arrived, r.Kinds[kindAll].Count, r.Errors, err)
		}
		if took := ended.Sub(began); took < 60*time.Second+Overdue || took > 61*time.Second+Overdue {
			t.Errorf("it took %v", took)
		}
	})
}

// TestLoadThatMeasuredNothingSaysSo has the cluster give no answer from the warm-up on.
func TestLoadThatMeasuredNothingSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		f := &fake{stall: now, over: now.Add(time.Minute), failure: "timeout"}
		m, err := Run(t.Context(), Config{Load: appliance.BenchLoad{Clients: 2, WarmupSeconds: 1, DurationSeconds: 5}, Client: func(int) Client { return f }})
		if !appliance.IsProblem(err, appliance.ErrPrecondition) || m.Result.Requests != 0 || m.Partial {
			t.Errorf("%d requests, partial %t: %v", m.Result.Requests, m.Partial, err)
		}
	})
}

func TestErrorsAreCountedBySQLSTATE(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Second, failure: "57P01"}
		m, err := Run(t.Context(), Config{Load: appliance.BenchLoad{Clients: 1, DurationSeconds: 5}, Client: func(int) Client { return f }})
		if !appliance.IsProblem(err, appliance.ErrPrecondition) || !strings.Contains(err.Error(), "all 5 requests failed, most of them with 57P01") {
			t.Errorf("error %v", err)
		}
		if m.Result.Errors["57P01"] != 5 || m.Result.PerSecond != 0 || m.Result.Kinds[kindAll].Count != 0 || m.Result.Requests != 5 {
			t.Errorf("errors %v of %d requests", m.Result.Errors, m.Result.Requests)
		}
	})
}

func TestCheckNamesTheField(t *testing.T) {
	t.Parallel()
	good := appliance.BenchLoad{ReadPercent: 95, Clients: 8, Zipf: 0.8, DurationSeconds: 10, Consistency: "session", Through: "endpoint", ReadFrom: "standbys"}
	if err := Check(good, strings.Clone); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*appliance.BenchLoad){
		"read_percent":     func(l *appliance.BenchLoad) { l.ReadPercent = 101 },
		"clients":          func(l *appliance.BenchLoad) { l.Clients = 0 },
		"rate":             func(l *appliance.BenchLoad) { l.Rate = -1 },
		"think_ms":         func(l *appliance.BenchLoad) { l.ThinkMillis = -1 },
		"zipf":             func(l *appliance.BenchLoad) { l.Zipf = math.NaN() },
		"warmup_seconds":   func(l *appliance.BenchLoad) { l.WarmupSeconds = math.Inf(1) },
		"duration_seconds": func(l *appliance.BenchLoad) { l.DurationSeconds = 0 },
		"consistency":      func(l *appliance.BenchLoad) { l.Consistency = "strong" },
		"through":          func(l *appliance.BenchLoad) { l.Through = "" },
		"read_from":        func(l *appliance.BenchLoad) { l.ReadFrom = "everywhere" },
		"rate and think":   func(l *appliance.BenchLoad) { l.Rate, l.ThinkMillis = 1, 1 },
	} {
		l := good
		change(&l)
		name, _, _ := strings.Cut(field, " ")
		if err := Check(l, strings.Clone); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("bad %s: %v", field, err)
		}
	}
}
