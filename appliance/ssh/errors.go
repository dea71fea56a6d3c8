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
	// ReasonTimeout: nothing answered, or no machine has the address.
	ReasonTimeout Reason = "no answer"
	// ReasonHostKey: another machine answers, or another key was injected.
	// Trying again doesn't help.
	ReasonHostKey Reason = "wrong host key"
	// ReasonBooting: the machine doesn't let users in yet (pam_nologin), or
	// asks us to come later (sshd's PerSourcePenalties).
	ReasonBooting Reason = "still booting"
	// ReasonAuth: our key was refused. While a machine boots that may change.
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

// errWrongHostKey marks what the host key check refused.
var errWrongHostKey = errors.New("the machine doesn't show the host key that pgapp made for it")

// classify finds the reason of a failed dial or handshake. banner is what the
// server said before it refused.
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

// unreachable wraps a failure to reach the machine into its problem.
func unreachable(address string, reason Reason, err error) error {
	d := &DialError{Reason: reason, Address: address, err: err}
	if reason == ReasonHostKey {
		return appliance.NewProblem(appliance.ErrGuestHostKey, "%w", d).
			WithHint("another machine has this address, or the guest was replaced: nothing was sent to it; remove what holds %s, or recreate the member", address)
	}
	return appliance.NewProblem(appliance.ErrMemberUnreachable, "%w", d)
}

// connectionLost tells whether err says that the connection is gone, as
// opposed to a command that ended.
func connectionLost(err error) bool {
	var missing *ssh.ExitMissingError
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &missing) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
