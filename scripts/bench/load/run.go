package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// floorSize is about the size of a cluster's status.
const floorSize = 2 << 10

// requestTimeout is longer than a busy daemon's answer takes.
const requestTimeout = 30 * time.Second

// run measures the floor, then the daemon.
func run(ctx context.Context, o options) (result, error) {
	r := result{Clients: o.clients, Seconds: o.duration.Seconds(), ByPath: map[string]int{}}
	floor, err := measureFloor(ctx, o)
	if err != nil {
		return r, err
	}
	r.Floor = floor.figures(o.duration / 4)
	if r.RSS.Before, err = residentMiB(o.pid); err != nil {
		return r, err
	}
	work, end := context.WithTimeout(ctx, o.duration)
	defer end()
	var side sync.WaitGroup
	var opErr error
	side.Go(func() { r.RSS.Peak = peak(work, o.pid) })
	if o.restart != "" {
		side.Go(func() { r.Operations, opErr = restarts(work, o) })
	}
	c := "/api/v1/clusters"
	s := hammer(work, o, o.url, []string{c, c + "/" + o.cluster, c + "/" + o.cluster + "/members", "/health/" + o.cluster + "/node0/primary", "/api/v1/operations", "/api/v1/info"})
	side.Wait()
	if opErr != nil {
		r.OperationError = opErr.Error()
	}
	r.API, r.Failures = s.figures(o.duration), s.failures
	for _, l := range s.took {
		r.ByPath[l.path]++
	}
	if r.RSS.After, err = residentMiB(o.pid); err != nil {
		return r, err
	}
	r.RSS.Peak = max(r.RSS.Peak, r.RSS.Before, r.RSS.After)
	r.RatioP50, r.RatioP99 = r.API.P50/r.Floor.P50, r.API.P99/r.Floor.P99
	return r, nil
}

// measureFloor measures a handler of this process that does nothing.
func measureFloor(ctx context.Context, o options) (sample, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return sample{}, fmt.Errorf("listening for the floor: %w", err)
	}
	body := []byte(strings.Repeat("x", floorSize))
	srv := &http.Server{ReadHeaderTimeout: requestTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(body) // fails only if the client is gone
	})}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	work, end := context.WithTimeout(ctx, o.duration/4)
	defer end()
	s := hammer(work, o, "http://"+l.Addr().String(), []string{"/"})
	if err = srv.Close(); err != nil {
		return s, err
	}
	if err = <-served; !errors.Is(err, http.ErrServerClosed) {
		return s, fmt.Errorf("serving the floor: %w", err)
	}
	return s, nil
}

// sample is the result of many requests.
type sample struct {
	took     []lap
	errors   int
	failures []string // the first few
}

type lap struct {
	path string
	took time.Duration
}

// hammer reads the paths with all clients until ctx ends. Each client has its own
// connection and waits for each answer.
func hammer(ctx context.Context, o options, url string, paths []string) sample {
	var mu sync.Mutex
	var all sample
	var wg sync.WaitGroup
	for n := range o.clients {
		wg.Go(func() {
			s := oneClient(ctx, o, url, paths, n)
			mu.Lock()
			defer mu.Unlock()
			all.took = append(all.took, s.took...)
			all.errors += s.errors
			all.failures = append(all.failures, s.failures...)
			all.failures = all.failures[:min(len(all.failures), 10)]
		})
	}
	wg.Wait()
	return all
}

func oneClient(ctx context.Context, o options, url string, paths []string, n int) (s sample) {
	transport := &http.Transport{MaxIdleConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: requestTimeout}
	for i := n; ctx.Err() == nil; i++ {
		path := paths[i%len(paths)]
		start := time.Now()
		// The answer to a request begun before the end counts too.
		_, err := get(context.WithoutCancel(ctx), client, o.token, url+path)
		s.took = append(s.took, lap{path, time.Since(start)})
		if err != nil {
			s.errors++
			s.failures = append(s.failures, err.Error())
		}
	}
	return s
}

// get expects status 200 and reads the whole answer.
func get(ctx context.Context, c *http.Client, token, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return do(c, token, req, http.StatusOK)
}

func do(c *http.Client, token string, req *http.Request, want int) ([]byte, error) {
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s %s: %s: %.200s", req.Method, req.URL, resp.Status, b)
	}
	return b, err
}

// figures are the sample's.
func (s sample) figures(d time.Duration) figures {
	f := figures{Requests: len(s.took), Errors: s.errors, PerSecond: float64(len(s.took)) / d.Seconds()}
	if len(s.took) == 0 {
		return f
	}
	slices.SortFunc(s.took, func(a, b lap) int { return int(a.took - b.took) })
	ms := func(part float64) float64 {
		return float64(s.took[int(part*float64(len(s.took)-1))].took.Microseconds()) / 1000
	}
	f.P50, f.P99, f.Max = ms(0.5), ms(0.99), ms(1)
	return f
}

// restarts restarts the member again and again, and returns how often.
func restarts(ctx context.Context, o options) (n int, err error) {
	c := &http.Client{Timeout: requestTimeout}
	defer c.CloseIdleConnections()
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPost, o.url+"/api/v1/clusters/"+o.cluster+"/members/"+o.restart+"/restart", nil)
		if err != nil {
			return n, err
		}
		body, err := do(c, o.token, req, http.StatusAccepted)
		if err != nil {
			return n, err
		}
		if err := finish(ctx, o, c, body); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// finish waits for the operation's end, which must be a success.
func finish(ctx context.Context, o options, c *http.Client, body []byte) error {
	const patience = 2 * time.Minute
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var op struct {
			ID    string `json:"id"`
			State string `json:"state"`
		}
		if err := json.Unmarshal(body, &op); err != nil {
			return fmt.Errorf("reading an operation: %w", err)
		}
		switch op.State {
		case "succeeded":
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("restarting %s %s: %s", o.restart, op.State, body)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("restarting %s: %w", o.restart, ctx.Err())
		}
		var err error
		if body, err = get(ctx, c, o.token, o.url+"/api/v1/operations/"+op.ID); err != nil {
			return err
		}
	}
}

// peak watches the process's memory until ctx ends.
func peak(ctx context.Context, pid int) (most float64) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if m, err := residentMiB(pid); err == nil {
			most = max(most, m)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return most
		}
	}
}

// residentMiB is a process's resident set.
func residentMiB(pid int) (float64, error) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, fmt.Errorf("reading the daemon's memory: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kib, err := strconv.ParseFloat(f[1], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no resident set", pid)
}
