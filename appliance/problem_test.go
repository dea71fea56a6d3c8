package appliance_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"pgapp/appliance"
)

func TestAsProblemKeepsTheCauseAndSaysWhatWasDone(t *testing.T) {
	t.Parallel()
	inner := appliance.NewProblem(appliance.ErrNotFound, "there is no cluster %q", "x").WithHint("pgapp up")
	fields := &appliance.Problem{ID: appliance.ErrInvalidSpec, Message: "the spec is wrong", Fields: []appliance.FieldError{{Field: "name", Message: "is empty"}}}
	for _, c := range []struct {
		name    string
		err     error
		id      appliance.ErrorID
		message string
	}{
		{"a problem", inner, appliance.ErrNotFound, `there is no cluster "x"`},
		{"a wrapped problem", fmt.Errorf("looking: %w", inner), appliance.ErrNotFound, `looking: there is no cluster "x"`},
		{"fields are not repeated in the message", fmt.Errorf("reading: %w", fields), appliance.ErrInvalidSpec, "reading: the spec is wrong"},
		{"a problem in the middle", fmt.Errorf("%w (twice)", inner), appliance.ErrNotFound, `there is no cluster "x" (twice)`},
		{"a deadline", fmt.Errorf("waiting: %w", context.DeadlineExceeded), appliance.ErrTimeout, "waiting: context deadline exceeded"},
		{"a cancellation", context.Canceled, appliance.ErrCancelled, "context canceled"},
		{"a full disk", fmt.Errorf("writing: %w", syscall.ENOSPC), appliance.ErrHostNoSpace, "writing: no space left on device"},
		{"no permission", &fs.PathError{Op: "open", Path: "/x", Err: syscall.EACCES}, appliance.ErrHostPermission, "open /x: permission denied"},
		{"a program's words", &appliance.ExitError{Name: "initdb", Code: 1, Stderr: "could not write: No space left on device\n"}, appliance.ErrHostNoSpace, "initdb ended with exit code 1: could not write: No space left on device"},
		{"anything else", errors.New("odd"), appliance.ErrInternal, "odd"},
	} {
		p := appliance.AsProblem(c.err)
		if p.ID != c.id || p.Message != c.message {
			t.Errorf("%s: %s %q, want %s %q", c.name, p.ID, p.Message, c.id, c.message)
		}
	}
	if inner.Message != `there is no cluster "x"` || inner.Hint != "pgapp up" {
		t.Errorf("the problem in the chain was changed: %+v", inner)
	}
	if appliance.AsProblem(nil) != nil {
		t.Error("no error is a problem")
	}
}

func TestHostErrorsExitAsHostErrors(t *testing.T) {
	t.Parallel()
	for _, id := range []appliance.ErrorID{appliance.ErrHostNoSpace, appliance.ErrHostNoKVM, appliance.ErrHostFirewall, appliance.ErrPostgresMissing, appliance.ErrStoreFull} {
		if exit, status := id.Codes(); exit != appliance.ExitHost || status < 500 {
			t.Errorf("%s: exit code %d, status %d", id, exit, status)
		}
	}
	for id, want := range map[appliance.ErrorID]int{
		appliance.ErrUsage: 2, appliance.ErrInvalidSpec: 2, appliance.ErrVerifyFailed: 3, appliance.ErrUnauthorised: 4, appliance.ErrNotFound: 5,
		appliance.ErrOperationRunning: 6, appliance.ErrDeclined: 8, appliance.ErrTimeout: 124, appliance.ErrInterrupted: 130, appliance.ErrSQL: 1,
	} {
		if exit, _ := id.Codes(); exit != want {
			t.Errorf("%s: exit code %d, want %d", id, exit, want)
		}
	}
}

func TestServerReasonPrefersTheOperatingSystemsRefusal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		log, reason string
		id          appliance.ErrorID
	}{
		{"2026 [1] LOG:  could not bind IPv4 address: Address already in use\n2026 [1] FATAL:  could not create any TCP/IP sockets\n", "could not bind IPv4 address: Address already in use", appliance.ErrHostPortTaken},
		{"2026 [1] LOG:  starting\n2026 [1] FATAL:  lock file is empty\n2026 [1] LOG:  shut down\n", "lock file is empty", appliance.ErrPostgresStart},
		{"one\ntwo\n\n", "two", appliance.ErrPostgresStart},
		{"", "it exited at once without a message", appliance.ErrPostgresStart},
	} {
		if reason, id := appliance.ServerReason(c.log); !strings.Contains(reason, c.reason) || id != c.id {
			t.Errorf("%q: %q, %s; want %q, %s", c.log, reason, id, c.reason, c.id)
		}
	}
}

// Whoever adds to a problem gets one of his own: a problem in a chain may be
// another goroutine's too.
func TestProblemsInAChainDontChange(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	inner := appliance.NewProblem(appliance.ErrSQL, "loading: %w", cause).WithHint("first").WithDetail("log").WithOperation("op1")
	before := *inner
	err := fmt.Errorf("around: %w", inner)
	for name, p := range map[string]*appliance.Problem{
		"itself":  appliance.AsProblem(inner),
		"wrapped": appliance.AsProblem(err),
		"joined":  appliance.AsProblem(errors.Join(err, errors.New("more"))),
	} {
		if p == inner {
			t.Errorf("%s: AsProblem returns the problem of the chain", name)
		}
		p.Hint, p.Operation = "second", "op2"
		if got := p.WithHint("third").WithDetail("other").WithOperation("op3"); got.Hint != "third" || got.Detail != "other" || got.Operation != "op3" || got.ID != inner.ID {
			t.Errorf("%s: %+v", name, got)
		}
		if !errors.Is(p, cause) || !errors.Is(p, inner) || !appliance.IsProblem(p, appliance.ErrSQL) {
			t.Errorf("%s: the chain is lost", name)
		}
	}
	if !reflect.DeepEqual(*inner, before) {
		t.Errorf("the problem in the chain was changed: %+v", inner)
	}
}

// Texts that repeat the problem's own are no reason to change the message.
func TestAsProblemTakesTheTextAsItIs(t *testing.T) {
	t.Parallel()
	inner := &appliance.Problem{ID: appliance.ErrConflict, Message: "busy", Fields: []appliance.FieldError{{Field: "name", Message: "is taken"}}}
	for _, text := range []string{"busy: %w", "%w: busy", "%w (busy, busy)", "a: busy: b: %w"} {
		err := fmt.Errorf(text, inner)
		p := appliance.AsProblem(err)
		if p.Message != err.Error() || p.Message != strings.ReplaceAll(text, "%w", "busy") || len(p.Fields) != 1 {
			t.Errorf("%q: message %q, fields %v", text, p.Message, p.Fields)
		}
	}
}

func TestLastLines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text      string
		n         int
		want, one string
	}{
		{"", 3, "", ""},
		{"\n\n", 3, "", ""},
		{"a", 3, "a", "a"},
		{"a\n b\t\nc\n\n", 2, " b\t\nc", "c"},
		{"a\nb\n  c  \n", 9, "a\nb\n  c", "c"},
	} {
		if got := appliance.LastLines(c.text, c.n); got != c.want {
			t.Errorf("the last %d of %q: %q", c.n, c.text, got)
		}
		if got := appliance.LastLine(c.text); got != c.one {
			t.Errorf("the last of %q: %q", c.text, got)
		}
	}
}
