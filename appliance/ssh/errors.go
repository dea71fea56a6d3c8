package ssh

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"

	"pgapp/appliance"
)

// Reason says why a machine can't be reached.
type Reason string

// The reasons.
const (
	// ReasonRefused: the machine is up and nothing listens.
	ReasonRefused Reason = "refused"
	// ReasonTimeout: no answer, or no machine has the address.
	ReasonTimeout Reason = "no answer"
	// ReasonHostKey: another machine answers, or the guest has another key. A
	// repeat doesn't help.
	ReasonHostKey Reason = "wrong host key"
	// ReasonBooting: the machine refuses logins for now, by pam_nologin or by
	// sshd's PerSourcePenalties.
	ReasonBooting Reason = "still booting"
	// ReasonAuth: the user's key was refused, which may change while a machine
	// boots.
	ReasonAuth Reason = "key refused"
	// ReasonLost: the connection broke.
	ReasonLost Reason = "connection lost"
)

// DialError is the cause of every problem with id member-unreachable or
// guest-host-key that this package returns.
type DialError struct {
	Reason  Reason
	Address string
	err     error
}

// Error names the address, the reason and the cause.
func (e *DialError) Error() string {
	msg := "connecting to " + e.Address + ": " + string(e.Reason)
	if e.err != nil {
		msg += ": " + e.err.Error()
	}
	return msg
}

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.err }

// ReasonOf finds the reason in err's chain, or returns "".
func ReasonOf(err error) Reason {
	var d *DialError
	if errors.As(err, &d) {
		return d.Reason
	}
	return ""
}

// errWrongHostKey marks a refusal by the host key check.
var errWrongHostKey = errors.New("the host key is not the one that pgapp made for the machine")

// classify finds the reason of a failed dial or handshake. banner is the
// server's message before the refusal.
func classify(err error, banner string) Reason {
	var negotiation *ssh.AlgorithmNegotiationError
	text := err.Error() + "\n" + banner
	switch {
	case errors.Is(err, errWrongHostKey), errors.As(err, &negotiation) && strings.Contains(err.Error(), "host key"):
		return ReasonHostKey
	case strings.Contains(text, "System is booting up"), strings.Contains(text, "pam_nologin"),
		strings.Contains(text, "Not allowed at this time"):
		return ReasonBooting
	case strings.Contains(text, "unable to authenticate"):
		return ReasonAuth
	case errors.Is(err, syscall.ECONNREFUSED):
		return ReasonRefused
	case isTimeout(err), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return ReasonTimeout
	}
	return ReasonLost
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &n) && n.Timeout()
}

// unreachable makes the problem of a failure to reach the machine.
func unreachable(address string, reason Reason, err error) error {
	d := &DialError{Reason: reason, Address: address, err: err}
	if reason == ReasonHostKey {
		return appliance.NewProblem(appliance.ErrGuestHostKey, "%w", d).
			WithHint("another machine has this address, or the guest was replaced; no credentials were sent. Remove the machine at %s, or recreate the member", address)
	}
	return appliance.NewProblem(appliance.ErrMemberUnreachable, "%w", d)
}

// connectionLost tells whether err means a lost connection, not the end of a
// command.
func connectionLost(err error) bool {
	var missing *ssh.ExitMissingError
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &missing) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
