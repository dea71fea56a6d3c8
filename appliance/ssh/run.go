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
	// keptStderr is how many bytes of standard error a result keeps.
	keptStderr = 64 << 10
	// defaultKillLimit suffices for killing a command on an emulated guest.
	defaultKillLimit = 20 * time.Second
)

// killScript kills every process with the mark in its environment until none is
// left. Children inherit the mark, in any session and process group.
const killScript = `i=0
while [ $i -lt 100 ]; do
	pids=$(grep -lszxF -e "$1" /proc/[0-9]*/environ | cut -d / -f 3)
	[ -n "$pids" ] || exit 0
	kill -KILL $pids 2>/dev/null
	i=$((i + 1))
	sleep 0.05
done
exit 1`

// Shell runs commands, and reads and writes files, under one account of the
// machine.
type Shell struct {
	client *Client
	user   string
}

// As returns a shell under the account, by sudo; if user is empty, under the
// login user.
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
	var left error
	err = s.client.run(ctx, r, quoteAll(argv), c.Stdin, c.Stdout, func(on session, ended <-chan struct{}) { left = s.end(ctx, mark, on, ended) })
	if ctx.Err() != nil && err != nil {
		err = errors.Join(fmt.Errorf("running %q: %w", c.Argv[0], context.Cause(ctx)), left)
	}
	return r.result(), err
}

// end kills the processes of a command whose context has ended, and returns
// when the command has ended. sshd keeps a session while its process lives,
// even if the client closes it; so if the kill fails, end closes the connection.
func (s Shell) end(ctx context.Context, mark string, on session, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.client.killLimit)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		// The mark appears with the command, so an early kill may find none.
		err := s.kill(ctx, mark)
		ticker.Reset(pollEvery)
		select {
		case <-ended:
		case <-ctx.Done():
		case <-ticker.C:
			continue
		}
		select {
		case <-ended:
			return err
		default:
			_ = on.conn.client.Close()
			<-ended
			<-on.conn.done // so that no session opens on a closing connection
			return errors.Join(err, fmt.Errorf("processes of the command may still run on %s", s.client.cfg.Address))
		}
	}
}

// kill kills the processes with the mark. It returns when ctx ends; killScript
// then goes on in the background.
func (s Shell) kill(ctx context.Context, mark string) error {
	argv := []string{"sh", "-c", killScript, "sh", runMark + "=" + mark}
	if s.user != "" {
		argv = append([]string{"sudo", "-n", "--"}, argv...)
	}
	killed := make(chan error, 1)
	go func() {
		select {
		case s.client.kills <- struct{}{}:
			defer func() { <-s.client.kills }()
		case <-ctx.Done():
			return
		}
		killed <- s.client.run(ctx, &running{name: "sh", stderr: newLineTail(nil)}, quoteAll(argv), nil, nil, func(session, <-chan struct{}) {})
	}()
	var err error
	select {
	case err = <-killed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("killing the command's processes on %s: %w", s.client.cfg.Address, err)
	}
	return nil
}

// running collects a command's output.
type running struct {
	name   string
	code   int
	stdout bytes.Buffer
	stderr *lineTail
}

func (r *running) result() appliance.Result {
	return appliance.Result{Stdout: r.stdout.Bytes(), Stderr: r.stderr.bytes(), ExitCode: r.code}
}

// run runs one shell line to its end. If ctx ends first, run calls end, which
// must end the command.
func (c *Client) run(ctx context.Context, r *running, line string, stdin io.Reader, stdout io.Writer, end func(on session, ended <-chan struct{})) error {
	on, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = on.Close() }()
	if stdout == nil {
		stdout = &r.stdout
	}
	out := &sink{w: stdout}
	on.Stdout, on.Stderr = out, r.stderr
	var pipe io.WriteCloser
	if stdin != nil {
		if pipe, err = on.StdinPipe(); err != nil {
			return unreachable(c.cfg.Address, ReasonLost, err)
		}
	}
	ended, killed := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		end(on, ended)
	})
	err = c.startAndWait(on, r, line, pipe, stdin)
	close(ended)
	if !stop() {
		<-killed
	}
	if err == nil && out.err != nil {
		err = fmt.Errorf("passing on the output of %q: %w", r.name, out.err)
	}
	return err
}

func (c *Client) startAndWait(on session, r *running, line string, pipe io.WriteCloser, stdin io.Reader) error {
	if err := on.Start(line); err != nil {
		return unreachable(c.cfg.Address, ReasonLost, err)
	}
	if pipe != nil {
		feed(pipe, stdin)
	}
	return c.ended(r, on.Wait())
}

// feed copies stdin to the command in a goroutine. The command must have
// started: sshd loses an earlier end of input, and the command would wait
// forever. A reader that blocks delays only the goroutine, not the command's
// end.
func feed(pipe io.WriteCloser, stdin io.Reader) {
	go func() {
		_, _ = io.Copy(pipe, stdin) // a command that needs more input fails by itself
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

// sink accepts all output, even after w failed: unread output would keep sshd's
// session open after the command's end.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	if s.err == nil {
		_, s.err = s.w.Write(p)
	}
	return len(p), nil
}

// lineTail keeps the last keptStderr bytes and passes on each line.
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
