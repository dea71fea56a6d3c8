package postgres

import (
	"regexp"
	"strings"
)

// complaints lists the errors in a server's or a program's output.
func complaints(text string) []string {
	re := regexp.MustCompile(`(?:FATAL|PANIC|ERROR|error|fatal):\s+(.*)`)
	var out []string
	for _, m := range re.FindAllStringSubmatch(text, -1) {
		out = append(out, strings.TrimSpace(m[1]))
	}
	return out
}

// lastComplaint is the last error in a server's log, the reason of its end.
func lastComplaint(log string) string {
	all := complaints(log)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// firstComplaint is a program's first error, of which later ones are
// consequences.
func firstComplaint(stderr string) string {
	all := complaints(stderr)
	if len(all) == 0 {
		return ""
	}
	return all[0]
}

// psqlError is the line and the message of psql's error; line is "" if unknown.
type psqlError struct {
	line    string
	message string
}

// parsePSQL finds the first error in psql's standard error.
func parsePSQL(stderr string) (psqlError, bool) {
	re := regexp.MustCompile(`(?m)^psql:(?:<stdin>:(\d+):)?\s*(?:(?:ERROR|FATAL|PANIC|error|fatal):\s+)(.*)$`)
	if m := re.FindStringSubmatch(stderr); m != nil {
		return psqlError{m[1], strings.TrimSpace(m[2])}, true
	}
	re = regexp.MustCompile(`(?m)^(?:psql:(?:<stdin>:(\d+):)?\s*)?(?:ERROR|FATAL|PANIC):\s+(.*)$`)
	if m := re.FindStringSubmatch(stderr); m != nil {
		return psqlError{m[1], strings.TrimSpace(m[2])}, true
	}
	return psqlError{}, false
}
