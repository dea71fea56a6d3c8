package ssh

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"golang.org/x/crypto/ssh"

	"pgapp/appliance"
)

const (
	// keptStderr is how much of standard error a result keeps.
	keptStderr = 64 << 10
	// killTimeout is for ending a command on an emulated guest.
	killTimeout = 20 * time.Second
)

// killScript kills every process that carries the mark in its environment,
// until none is left: children are found wherever they moved to.
const killScript = `i=0
while [ $i -lt 100 ]; do
	pids=$(grep -lszxF -e "$1" /proc/[0-9]*/environ | cut -d / -f 3)
	[ -n "$pids" ] || exit 0
	kill -KILL $pids 2>/dev/null
	i=$((i + 1))
	sleep 0.05
done
exit 1`

// Shell runs commands and keeps files on the machine under one account.
type Shell struct {
	client *Client
	user   string
}

// As gives a shell under the account, by sudo; empty means the login user.
func (c *Client) As(user string) Shell { return Shell{client: c, user: user} }

// Run runs the command to its end; see [appliance.Machine]. When ctx ends, the
// command and its children are killed.
func (s Shell) Run(ctx context.Context, c appliance.Command) (appliance.Result, error) {
	mark := rand.Text()
	argv, err := words(c, s.user, mark)
	if err != nil {
		return appliance.Result{}, err
	}
	select {
	case s.client.sessions <- struct{}{}:
		defer func() { <-s.client.sessions }()
	case <-ctx.Done():
		return appliance.Result{}, fmt.Errorf("running %q: %w", c.Argv[0], ctx.Err())
	}
	r := &running{name: path.Base(c.Argv[0]), stderr: newLineTail(c.OnStderr)}
	err = s.client.run(ctx, r, quoteAll(argv), c.Stdin, c.Stdout)
	if ctx.Err() != nil && err != nil {
		err = fmt.Errorf("running %q: %w", c.Argv[0], context.Cause(ctx))
		if r.started {
			err = errors.Join(err, s.kill(ctx, mark))
		}
	}
	return r.result(), err
}

// kill ends the processes of a command whose context ended.
func (s Shell) kill(ctx context.Context, mark string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
	defer cancel()
	argv := []string{"sh", "-c", killScript, "sh", runMark + "=" + mark}
	if s.user != "" {
		argv = append([]string{"sudo", "-n", "--"}, argv...)
	}
	r := &running{name: "sh", stderr: newLineTail(nil)}
	if err := s.client.run(ctx, r, quoteAll(argv), nil, nil); err != nil {
		return fmt.Errorf("killing what was started on %s: %w", s.client.cfg.Address, err)
	}
	return nil
}

// running collects what a command writes.
type running struct {
	name    string
	started bool
	code    int
	stdout  bytes.Buffer
	stderr  *lineTail
}

func (r *running) result() appliance.Result {
	return appliance.Result{Stdout: r.stdout.Bytes(), Stderr: r.stderr.bytes(), ExitCode: r.code}
}

// run runs one shell line. It returns when the command ended or ctx did.
func (c *Client) run(ctx context.Context, r *running, line string, stdin io.Reader, stdout io.Writer) error {
	session, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = session.Close() }()
	session.Stdout, session.Stderr = stdout, r.stderr
	if stdout == nil {
		session.Stdout = &r.stdout
	}
	var pipe io.WriteCloser
	if stdin != nil {
		if pipe, err = session.StdinPipe(); err != nil {
			return unreachable(c.cfg.Address, ReasonLost, err)
		}
	}
	// Closing the session ends Wait: the channel's readers see its end.
	stop := context.AfterFunc(ctx, func() { _ = session.Close() })
	defer stop()
	if err := session.Start(line); err != nil {
		return unreachable(c.cfg.Address, ReasonLost, err)
	}
	r.started = true
	if pipe != nil {
		feed(pipe, stdin)
	}
	return c.ended(r, session.Wait())
}

// feed copies stdin beside the session, of which the command has started: sshd
// loses an end that comes before it, and the command would wait for ever. A
// reader that blocks after the command has ended keeps its goroutine, not the
// command's end.
func feed(pipe io.WriteCloser, stdin io.Reader) {
	go func() {
		_, _ = io.Copy(pipe, stdin) // what the command didn't read shows in its exit code
		_ = pipe.Close()
	}()
}

func (c *Client) ended(r *running, err error) error {
	r.stderr.flush()
	if err == nil {
		return nil
	}
	r.code = -1
	var exit *ssh.ExitError
	if !errors.As(err, &exit) {
		if connectionLost(err) {
			return unreachable(c.cfg.Address, ReasonLost, err)
		}
		return fmt.Errorf("running %q on %s: %w", r.name, c.cfg.Address, err)
	}
	if exit.Signal() == "" {
		r.code = exit.ExitStatus()
	}
	return &appliance.ExitError{Name: r.name, Code: r.code, Stderr: string(r.stderr.bytes())}
}

// lineTail keeps the end of what is written and passes it on by lines.
type lineTail struct {
	tail   []byte
	line   []byte
	onLine func(string)
}

func newLineTail(onLine func(string)) *lineTail { return &lineTail{onLine: onLine} }

// Write never fails. Only one goroutine writes: the session's.
func (t *lineTail) Write(p []byte) (int, error) {
	t.tail = append(t.tail, p...)
	if over := len(t.tail) - keptStderr; over > 0 {
		t.tail = append(t.tail[:0], t.tail[over:]...)
	}
	if t.onLine == nil {
		return len(p), nil
	}
	for _, b := range p {
		if b == '\n' || b == '\r' {
			t.flush()
			continue
		}
		t.line = append(t.line, b)
		if len(t.line) >= keptStderr {
			t.flush()
		}
	}
	return len(p), nil
}

func (t *lineTail) flush() {
	if t.onLine != nil && len(t.line) > 0 {
		t.onLine(string(t.line))
	}
	t.line = t.line[:0]
}

func (t *lineTail) bytes() []byte { return t.tail }
