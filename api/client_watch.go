package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"pgapp/appliance"
)

const (
	reconnectFirst = 10 * time.Millisecond
	reconnectMost  = 100 * time.Millisecond
	// silence is how long a stream may send nothing, not even a heartbeat.
	silence = 3 * heartbeat
)

// WatchOperation calls seen with each snapshot and returns the final one. A slow
// seen misses all but the newest. WatchOperation reconnects after a restart of
// the daemon; when ctx ends, it returns the last snapshot and a problem.
func (c *Client) WatchOperation(ctx context.Context, id string, seen func(appliance.Operation)) (appliance.Operation, error) {
	var last appliance.Operation
	wait := reconnectFirst
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		got, err := c.stream(ctx, id, &last, seen)
		switch {
		case err == nil && last.State.Final() && last.ID != "":
			return last, nil
		case err != nil && !appliance.IsProblem(err, appliance.ErrDaemonUnreachable) && !appliance.IsProblem(err, appliance.ErrTooMany):
			return last, err
		case err != nil && c.OnLost != nil && appliance.IsProblem(err, appliance.ErrDaemonUnreachable):
			if err := c.OnLost(ctx); err != nil {
				return last, err
			}
		}
		wait = min(2*wait, reconnectMost)
		if got {
			wait = reconnectFirst
		}
		t.Reset(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			return last, appliance.AsProblem(fmt.Errorf("watching operation %s: %w", id, ctx.Err()))
		}
	}
}

// stream reads one connection to its end. got tells whether an event arrived.
func (c *Client) stream(ctx context.Context, id string, last *appliance.Operation, seen func(appliance.Operation)) (got bool, err error) {
	live, cancel := context.WithCancel(ctx)
	defer cancel()
	header := http.Header{"Accept": {"text/event-stream"}}
	if last.ID != "" {
		header.Set("Last-Event-ID", strconv.FormatUint(last.Revision, 10))
	}
	resp, err := c.send(live, http.MethodGet, base+operationURL(id)+"/events", nil, header)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := ProblemOf(resp); err != nil {
		return false, err
	}
	quiet := time.AfterFunc(silence, cancel)
	defer quiet.Stop()
	var bad error // permanent: a new attempt would fail too
	err = readEvents(&pulse{r: resp.Body, t: quiet}, func(data []byte) error {
		var o appliance.Operation
		if err := json.Unmarshal(data, &o); err != nil {
			bad = fmt.Errorf("reading an event of operation %q: %w", id, err)
			return bad
		}
		got, *last = true, o
		if seen != nil {
			seen(o)
		}
		return nil
	})
	if bad != nil || last.ID != "" && last.State.Final() {
		return got, bad
	}
	if err == nil {
		err = io.ErrUnexpectedEOF // the daemon stops, or restarts
	}
	return got, c.transportProblem(ctx, err)
}

// pulse resets a timer whenever bytes arrive.
type pulse struct {
	r io.Reader
	t *time.Timer
}

// Read reads and resets the timer.
func (p *pulse) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.t.Reset(silence)
	return n, err
}

// readEvents calls event with the data of each server-sent event.
func readEvents(r io.Reader, event func(data []byte) error) error {
	br := bufio.NewReaderSize(r, 64<<10)
	var data []byte
	for {
		line, err := br.ReadBytes('\n')
		if err == io.EOF {
			return nil // an event without its final empty line is incomplete
		}
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if rest, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			data = append(data, bytes.TrimPrefix(rest, []byte(" "))...)
			if len(data) > maxAnswerSize {
				return fmt.Errorf("an event is larger than %d bytes", maxAnswerSize)
			}
		}
		if len(line) > 0 || len(data) == 0 {
			continue
		}
		if err := event(data); err != nil {
			return err
		}
		data = nil
	}
}
