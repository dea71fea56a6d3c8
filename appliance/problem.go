package appliance

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ErrorID is the stable id of an error: the same in the CLI
// (`error[host-no-kvm]: …`), in -o json, and as the problem type of the API.
type ErrorID string

// The error ids.
const (
	ErrInternal          ErrorID = "internal"
	ErrUsage             ErrorID = "usage"
	ErrInvalidSpec       ErrorID = "invalid-spec"
	ErrNotFound          ErrorID = "not-found"
	ErrConflict          ErrorID = "conflict"
	ErrOperationRunning  ErrorID = "operation-running"
	ErrPrecondition      ErrorID = "precondition-failed"
	ErrPreconditionNeed  ErrorID = "precondition-required"
	ErrIdempotencyReuse  ErrorID = "idempotency-key-reused"
	ErrUnauthorised      ErrorID = "unauthorised"
	ErrForbidden         ErrorID = "forbidden"
	ErrHostNotAllowed    ErrorID = "host-not-allowed"
	ErrDeclined          ErrorID = "declined"
	ErrTimeout           ErrorID = "timeout"
	ErrInterrupted       ErrorID = "interrupted"
	ErrCancelled         ErrorID = "cancelled"
	ErrDegraded          ErrorID = "degraded"
	ErrVerifyFailed      ErrorID = "verify-failed"
	ErrTooLarge          ErrorID = "too-large"
	ErrTooMany           ErrorID = "too-many-requests"
	ErrDaemonUnreachable ErrorID = "daemon-unreachable"
	ErrDaemonRecovery    ErrorID = "daemon-recovery"
	ErrHomeLocked        ErrorID = "home-locked"
	ErrHomeUnusable      ErrorID = "home-unusable"
	ErrStoreDamaged      ErrorID = "store-damaged"
	ErrStoreNewer        ErrorID = "store-newer"
	ErrStoreFull         ErrorID = "store-full"
	ErrArchiveInvalid    ErrorID = "archive-invalid"
	ErrArchiveKey        ErrorID = "archive-key"
	ErrArchiveForeign    ErrorID = "archive-foreign"
	ErrArchiveOlder      ErrorID = "archive-older"

	ErrPostgresMissing    ErrorID = "postgres-missing"
	ErrPostgresUnsuitable ErrorID = "postgres-unsuitable"
	ErrPostgresStart      ErrorID = "postgres-start-failed"
	ErrPostgresStop       ErrorID = "postgres-stop-failed"
	ErrPostgresConfig     ErrorID = "postgres-config"
	ErrClone              ErrorID = "clone-failed"
	ErrReplication        ErrorID = "replication-failed"
	ErrSQL                ErrorID = "sql-failed"
	ErrDataDirForeign     ErrorID = "data-dir-foreign"
	ErrMemberUnreachable  ErrorID = "member-unreachable"
	ErrFence              ErrorID = "fence-unproven"
	ErrTablespace         ErrorID = "tablespace-local"
	ErrQuorumLost         ErrorID = "quorum-lost"
	ErrNoCandidate        ErrorID = "no-candidate"
	ErrPromote            ErrorID = "promote-failed"
	ErrRewind             ErrorID = "rewind-failed"

	ErrHostNoSpace      ErrorID = "host-no-space"
	ErrHostNoMemory     ErrorID = "host-no-memory"
	ErrHostPermission   ErrorID = "host-permission"
	ErrHostReadOnly     ErrorID = "host-read-only"
	ErrHostPortTaken    ErrorID = "host-port-taken"
	ErrHostAddressTaken ErrorID = "host-address-taken"
	ErrHostNoUser       ErrorID = "host-no-user"
	ErrHostNoKVM        ErrorID = "host-no-kvm"
	ErrHostNoLibvirt    ErrorID = "host-no-libvirt"
	ErrHostLibvirtPerm  ErrorID = "host-libvirt-permission"
	ErrHostFirewall     ErrorID = "host-firewall"
	ErrHostNetwork      ErrorID = "host-network"
	ErrHostUnable       ErrorID = "host-unable"
	ErrLibvirt          ErrorID = "libvirt-failed"
	ErrForeignObject    ErrorID = "foreign-object"
	ErrImageMissing     ErrorID = "image-missing"
	ErrImageDigest      ErrorID = "image-digest"
	ErrImageDownload    ErrorID = "image-download"
	ErrImageBuild       ErrorID = "image-build"
	ErrGuestBoot        ErrorID = "guest-boot"
	ErrGuestCloudInit   ErrorID = "guest-cloud-init"
	ErrGuestHostKey     ErrorID = "guest-host-key"
	ErrGuestCommand     ErrorID = "guest-command"
)

// Exit codes of the CLI (DESIGN's contract).
const (
	ExitOK           = 0
	ExitFailed       = 1
	ExitUsage        = 2
	ExitDegraded     = 3
	ExitUnauthorised = 4
	ExitNotFound     = 5
	ExitConflict     = 6
	ExitHost         = 7
	ExitDeclined     = 8
	ExitTimeout      = 124
	ExitInterrupted  = 130
)

// Codes returns the CLI's exit code and the API's status for the id.
func (id ErrorID) Codes() (exit, status int) {
	switch id {
	case ErrUsage:
		return ExitUsage, 400
	case ErrInvalidSpec, ErrArchiveInvalid:
		return ExitUsage, 422
	case ErrIdempotencyReuse:
		return ExitConflict, 422
	case ErrNotFound:
		return ExitNotFound, 404
	case ErrConflict, ErrOperationRunning, ErrForeignObject, ErrArchiveForeign, ErrArchiveOlder, ErrTablespace, ErrQuorumLost, ErrNoCandidate:
		return ExitConflict, 409
	case ErrPrecondition:
		return ExitConflict, 412
	case ErrPreconditionNeed:
		return ExitConflict, 428
	case ErrUnauthorised:
		return ExitUnauthorised, 401
	case ErrForbidden, ErrArchiveKey:
		return ExitUnauthorised, 403
	case ErrHostNotAllowed:
		return ExitUnauthorised, 421
	case ErrDeclined:
		return ExitDeclined, 400
	case ErrTimeout:
		return ExitTimeout, 504
	case ErrInterrupted, ErrCancelled:
		return ExitInterrupted, 503
	case ErrDegraded, ErrVerifyFailed:
		return ExitDegraded, 503
	case ErrTooLarge:
		return ExitUsage, 413
	case ErrTooMany:
		return ExitFailed, 429
	case ErrDaemonRecovery, ErrFence, ErrPromote, ErrRewind:
		return ExitFailed, 503
	case ErrStoreFull:
		return ExitHost, 507
	}
	if id == ErrPostgresMissing || id == ErrPostgresUnsuitable || strings.HasPrefix(string(id), "host-") {
		return ExitHost, 503
	}
	return ExitFailed, 500
}

// Problem is an error for the user: what failed, why, and what to do next. It
// contains no secret. The With methods and [AsProblem] return copies, so that a
// problem in an error's chain never changes.
type Problem struct {
	ID ErrorID `json:"id" yaml:"id"`
	// Message says what failed and why, in one line.
	Message string `json:"message" yaml:"message"`
	// Hint says what to do next, preferably a command.
	Hint string `json:"hint,omitempty" yaml:"hint,omitempty"`
	// Fields name what is wrong in a spec or request.
	Fields []FieldError `json:"fields,omitempty" yaml:"fields,omitempty"`
	// Operation is the id of the operation that stands in the way, or failed.
	Operation string `json:"operation,omitempty" yaml:"operation,omitempty"`
	// Detail holds further lines, such as the end of a log.
	Detail string `json:"detail,omitempty" yaml:"detail,omitempty"`

	cause error
}

// FieldError is one wrong field.
type FieldError struct {
	Field   string `json:"field" yaml:"field"`
	Message string `json:"message" yaml:"message"`
}

// NewProblem makes a problem. An error formatted by %w is its cause.
func NewProblem(id ErrorID, format string, args ...any) *Problem {
	err := fmt.Errorf(format, args...)
	return &Problem{ID: id, Message: err.Error(), cause: errors.Unwrap(err)}
}

// WithHint returns a copy that says what to do next.
func (p *Problem) WithHint(format string, args ...any) *Problem {
	c := *p
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// WithDetail returns a copy with other further lines.
func (p *Problem) WithDetail(detail string) *Problem {
	c := *p
	c.Detail = strings.TrimSpace(detail)
	return &c
}

// WithOperation returns a copy with the id of the operation that is in the way,
// or that has failed.
func (p *Problem) WithOperation(id string) *Problem {
	c := *p
	c.Operation = id
	return &c
}

// Error returns the message without the fields, which are shown beside it.
func (p *Problem) Error() string { return p.Message }

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.cause }

// Is matches problems by id, so that errors.Is(err, &Problem{ID: ErrNotFound}) works.
func (p *Problem) Is(target error) bool {
	t, ok := target.(*Problem)
	return ok && t.ID == p.ID && t.Message == ""
}

// IsProblem tells whether err is, or wraps, a problem with that id.
func IsProblem(err error, id ErrorID) bool {
	return errors.Is(err, &Problem{ID: id})
}

// AsProblem converts err to a problem, nil to nil. The problem in err's chain is
// copied, with err's text as its message. For other errors the id says what the
// host has refused, or is timeout, cancelled or internal. The result wraps err.
func AsProblem(err error) *Problem {
	if err == nil {
		return nil
	}
	var p *Problem
	if errors.As(err, &p) {
		outer := *p
		outer.Message, outer.cause = err.Error(), err
		return &outer
	}
	if id := hostErrorID(err); id != "" {
		return &Problem{ID: id, Message: err.Error(), Hint: hostHint(id), cause: err}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &Problem{ID: ErrTimeout, Message: err.Error(), cause: err}
	case errors.Is(err, context.Canceled):
		return &Problem{ID: ErrCancelled, Message: err.Error(), cause: err}
	}
	return &Problem{ID: ErrInternal, Message: err.Error(), cause: err}
}

// ExitError is the error of a command that failed.
type ExitError struct {
	// Name is the program without its arguments.
	Name string
	// Code is the exit code, or -1 if a signal ended the command.
	Code int
	// Stderr is the end of the command's standard error.
	Stderr string
}

// Error names the program, the exit code and the last line of Stderr.
func (e *ExitError) Error() string {
	msg := fmt.Sprintf("%s ended with exit code %d", e.Name, e.Code)
	if last := LastLine(e.Stderr); last != "" {
		msg += ": " + last
	}
	return msg
}

// LastLine returns the last line that isn't empty.
func LastLine(s string) string { return strings.TrimSpace(LastLines(s, 1)) }

// LastLines returns the last n lines, without empty ones at either end of s.
func LastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
