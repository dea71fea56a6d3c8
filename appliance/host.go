package appliance

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
)

// hostErrorID returns the id for an error of the operating system, which is in
// err's chain or in a program's output (a strerror text under LC_ALL=C). It
// returns "" for all other errors.
func hostErrorID(err error) ErrorID {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ErrHostNoSpace
	case errors.Is(err, syscall.EROFS):
		return ErrHostReadOnly
	case errors.Is(err, syscall.ENOMEM):
		return ErrHostNoMemory
	case errors.Is(err, syscall.EADDRINUSE):
		return ErrHostPortTaken
	case errors.Is(err, fs.ErrPermission):
		return ErrHostPermission
	}
	var exit *ExitError
	if errors.As(err, &exit) {
		return HostErrorInText(exit.Stderr)
	}
	return ""
}

// HostErrorInText returns the id for an error of the operating system in a
// program's output (under LC_ALL=C), or "".
func HostErrorInText(text string) ErrorID {
	for _, t := range []struct {
		text string
		id   ErrorID
	}{
		{"No space left on device", ErrHostNoSpace},
		{": wrote only ", ErrHostNoSpace}, // PostgreSQL's text for a short write
		{"Disk quota exceeded", ErrHostNoSpace},
		{"Read-only file system", ErrHostReadOnly},
		{"Cannot allocate memory", ErrHostNoMemory},
		{"could not map anonymous shared memory", ErrHostNoMemory},
		{"Address already in use", ErrHostPortTaken},
	} {
		if strings.Contains(text, t.text) {
			return t.id
		}
	}
	return ""
}

// ServerReason returns the line of a server's log that says why it has failed:
// the one with an error of the operating system, else the first FATAL or PANIC,
// else the last line.
func ServerReason(log string) (string, ErrorID) {
	for line := range strings.Lines(log) {
		if id := HostErrorInText(line); id != "" {
			return messageOf(line), id
		}
	}
	for line := range strings.Lines(log) {
		if strings.Contains(line, "FATAL:  ") || strings.Contains(line, "PANIC:  ") {
			return messageOf(line), ErrPostgresStart
		}
	}
	if last := LastLine(log); last != "" {
		return last, ErrPostgresStart
	}
	return "it exited at once without a message", ErrPostgresStart
}

// messageOf returns a log line without its prefix (time, process, level).
func messageOf(line string) string {
	if _, message, ok := strings.Cut(line, ":  "); ok {
		line = message
	}
	return strings.TrimSpace(line)
}

func hostHint(id ErrorID) string {
	switch id {
	case ErrHostNoSpace:
		return "free disk space, then run the same command again: it goes on where it stopped"
	case ErrHostReadOnly:
		return "choose a writable home with --home, or remount the file system writable"
	case ErrHostNoMemory:
		return "free memory, or ask for fewer standbys with --standbys"
	case ErrHostPortTaken:
		return "stop what listens there, or choose another cluster name to get other addresses"
	case ErrHostPermission:
		return "run as the user who owns the files, or choose another home with --home"
	}
	return ""
}
