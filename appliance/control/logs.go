package control

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"sync"

	"pgapp/appliance"
)

// logLines is how many lines of a log are shown before it is followed.
const logLines = "200"

// Logs copies the server log of one member to w, or the logs of all members with
// their names before each line. With follow it continues until ctx ends.
func (c *Controller) Logs(ctx context.Context, cluster, member string, follow bool, w io.Writer) error {
	r, err := c.cfg.Store.Cluster(ctx, cluster)
	if err != nil {
		return clusterNotFound(err, cluster)
	}
	provider, err := c.provider(r.Spec.Provider)
	if err != nil {
		return err
	}
	members := r.Members
	if member != "" {
		m, ok := r.Member(member)
		if !ok {
			return appliance.NoMember(cluster, member)
		}
		members = []appliance.Member{m}
	}
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		errs = make([]error, len(members))
	)
	for i, m := range members {
		out := w
		if member == "" {
			prefixed := newPrefixWriter(&mu, w, fmt.Sprintf("%-8s| ", m.Name))
			defer prefixed.flush()
			out = prefixed
		}
		wg.Go(func() { errs[i] = tail(ctx, provider.Machine(r, m), follow, out) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func tail(ctx context.Context, mc appliance.Machine, follow bool, w io.Writer) error {
	argv := []string{"tail", "-n", logLines}
	if follow {
		argv = append(argv, "-F")
	}
	_, err := mc.Run(ctx, appliance.Command{Argv: append(argv, "--", mc.Layout().LogFile), Stdout: w})
	return err
}

// prefixWriter puts a prefix before each line and writes whole lines only.
type prefixWriter struct {
	mu     *sync.Mutex
	w      io.Writer
	prefix string
	rest   []byte
}

func newPrefixWriter(mu *sync.Mutex, w io.Writer, prefix string) *prefixWriter {
	return &prefixWriter{mu: mu, w: w, prefix: prefix}
}

// Write buffers an incomplete line until the rest arrives.
func (p *prefixWriter) Write(b []byte) (int, error) {
	p.rest = append(p.rest, b...)
	for {
		advance, line, err := bufio.ScanLines(p.rest, false)
		if err != nil || advance == 0 {
			return len(b), err
		}
		if err := p.line(line); err != nil {
			return 0, err
		}
		p.rest = p.rest[advance:]
	}
}

func (p *prefixWriter) line(line []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := fmt.Fprintf(p.w, "%s%s\n", p.prefix, line)
	return err
}

func (p *prefixWriter) flush() {
	if len(p.rest) > 0 {
		_ = p.line(p.rest) // the reader has gone; there is nobody to tell
	}
}
