package postgres

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"pgapp/appliance"
)

// commitsScript prints the transactions' records that pg_waldump $1 reads in $2 on
// timeline $3 from $4, which is in segment $6, to $5.
const commitsScript = "first=$6\n" + usedSegments + `"$1" --path="$d" --timeline="$3" --start="$4" --end="$5" --rmgr=Transaction`

// CountDiscarded counts what a stopped member's WAL holds beyond the position from,
// where it left the primary's. It changes nothing. WAL that can't be read is no error:
// Discarded.Unknown then says why.
func CountDiscarded(ctx context.Context, sh Shell, member string, end WALEnd, from appliance.LSN) (appliance.Discarded, error) {
	d := appliance.Discarded{Member: member}
	if end.At <= from {
		return d, nil
	}
	l := sh.Layout()
	var commits commitCounter
	res, err := sh.Run(ctx, appliance.Command{Env: pgEnv(), Stdout: &commits, Argv: []string{
		"/bin/sh", "-c", commitsScript, "sh", program(l, "pg_waldump"), l.DataDir + "/pg_wal",
		strconv.FormatUint(uint64(end.Line.Timeline), 10), from.String(), end.At.String(), segmentOf(from),
	}})
	if ctx.Err() != nil {
		return d, ctx.Err()
	}
	var exit *appliance.ExitError
	if err != nil && !errors.As(err, &exit) {
		return d, err
	}
	// At the end of the WAL pg_waldump fails, because the next record isn't valid.
	stderr := string(res.Stderr)
	if err != nil && !strings.Contains(stderr, "error in WAL record at") {
		d.Unknown = "the WAL beyond " + from.String() + " can't be read"
		if why := firstComplaint(stderr); why != "" {
			d.Unknown += ": " + why
		}
		return d, nil
	}
	d.Bytes = int64(end.At - from)
	d.Commits, d.First, d.Last = commits.result()
	return d, nil
}

// commitCounter counts the commits in what pg_waldump prints.
type commitCounter struct {
	mu          sync.Mutex
	line        []byte
	n           int
	first, last time.Time
}

// maxRecordBytes are more than the beginning of a commit record needs, whose list of
// dropped files may be long.
const maxRecordBytes = 1024

// Write looks at whole lines.
func (c *commitCounter) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		part, rest, whole := bytes.Cut(b, []byte{'\n'})
		if room := maxRecordBytes - len(c.line); room > 0 {
			c.line = append(c.line, part[:min(room, len(part))]...)
		}
		if whole {
			c.see(string(c.line))
			c.line = c.line[:0]
		}
		b = rest
	}
	return n, nil
}

// see counts a record such as "… desc: COMMIT 2026-11-28 12:00:00.123456 UTC; …".
func (c *commitCounter) see(line string) {
	m := regexp.MustCompile(`, desc: COMMIT(?:_PREPARED)? .*?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC`).FindStringSubmatch(line)
	if m == nil {
		return
	}
	c.n++
	at, err := time.Parse("2006-01-02 15:04:05.999999", m[1])
	if err != nil {
		return
	}
	if c.first.IsZero() || at.Before(c.first) {
		c.first = at
	}
	if at.After(c.last) {
		c.last = at
	}
}

func (c *commitCounter) result() (n int, first, last *time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first.IsZero() {
		return c.n, nil, nil
	}
	f, l := c.first, c.last
	return c.n, &f, &l
}
