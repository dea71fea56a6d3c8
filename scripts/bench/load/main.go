// Command load reads a daemon's API with many clients at once while members
// restart, and prints requests, errors, latencies and the daemon's memory, in
// comparison with a handler that does nothing, measured in the same run. The exit
// code is 1 if a request or an operation failed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"
)

// options are the command line.
type options struct {
	url, token, cluster string
	clients, pid        int
	duration            time.Duration
	restart             string
	json                bool
}

// result is one run's. Durations are in milliseconds, memory in MiB.
type result struct {
	Clients    int            `json:"clients"`
	Seconds    float64        `json:"seconds"`
	API        figures        `json:"api"`
	ByPath     map[string]int `json:"by_path"`
	Floor      figures        `json:"floor"`
	RatioP50   float64        `json:"ratio_p50"`
	RatioP99   float64        `json:"ratio_p99"`
	Operations int            `json:"operations"`
	// OperationError is why the last operation failed.
	OperationError string   `json:"operation_error,omitempty"`
	RSS            memory   `json:"rss_mib"`
	Failures       []string `json:"failures"`
}

// figures are those of one kind of request.
type figures struct {
	Requests  int     `json:"requests"`
	Errors    int     `json:"errors"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	Max       float64 `json:"max_ms"`
}

// memory is the daemon's resident set.
type memory struct {
	Before float64 `json:"before"`
	Peak   float64 `json:"peak"`
	After  float64 `json:"after"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o, err := parse()
	var r result
	if err == nil {
		r, err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	show(r, o.json)
	if r.API.Errors > 0 || r.OperationError != "" {
		os.Exit(1)
	}
}

func parse() (options, error) {
	var o options
	var tokenFile string
	flag.StringVar(&o.url, "url", "", "the daemon's address, as pgapp info shows it")
	flag.StringVar(&tokenFile, "token-file", "", "file with an admin token")
	flag.StringVar(&o.cluster, "cluster", "main", "the cluster to read")
	flag.IntVar(&o.clients, "clients", 200, "clients at once")
	flag.IntVar(&o.pid, "pid", 0, "the daemon's process, whose memory is watched")
	flag.DurationVar(&o.duration, "duration", time.Minute, "how long to read")
	flag.StringVar(&o.restart, "restart", "node1", "the member to restart again and again meanwhile; empty: none")
	flag.BoolVar(&o.json, "json", false, "print JSON")
	flag.Parse()
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return o, fmt.Errorf("reading the token: %w", err)
	}
	o.token = strings.TrimSpace(string(token))
	if o.url == "" || o.clients < 1 || o.pid < 1 {
		return o, errors.New("-url, -clients and -pid are needed")
	}
	return o, nil
}

func show(r result, asJSON bool) {
	if asJSON {
		// Nothing in it fails to marshal.
		_ = json.NewEncoder(os.Stdout).Encode(r)
		return
	}
	fmt.Printf("%d clients for %.0f s, %d operations meanwhile\n", r.Clients, r.Seconds, r.Operations)
	line := func(name string, f figures) {
		fmt.Printf("%-6s %8d requests  %6d errors  %8.0f/s  p50 %8.2f ms  p99 %8.2f ms  max %8.2f ms\n", name, f.Requests, f.Errors, f.PerSecond, f.P50, f.P99, f.Max)
	}
	line("api", r.API)
	line("floor", r.Floor)
	fmt.Printf("ratio  p50 %.1f  p99 %.1f\n", r.RatioP50, r.RatioP99)
	fmt.Printf("daemon RSS before %.1f  peak %.1f  after %.1f MiB\n", r.RSS.Before, r.RSS.Peak, r.RSS.After)
	for path, n := range r.ByPath {
		fmt.Printf("       %8d %s\n", n, path)
	}
	if r.OperationError != "" {
		fmt.Println("operation:", r.OperationError)
	}
	for _, f := range r.Failures {
		fmt.Println("failed:", f)
	}
}
