package postgres

import (
	"regexp"
	"strings"
)

// complaints are the errors of a server's or a program's output.
func complaints(text string) []string {
	re := regexp.MustCompile(`(?:FATAL|PANIC|ERROR|error|fatal):\s+(.*)`)
	var out []string
	for _, m := range re.FindAllStringSubmatch(text, -1) {
		out = append(out, strings.TrimSpace(m[1]))
	}
	return out
}

// lastComplaint is why a server ended: its log has older ones above.
func lastComplaint(log string) string {
	all := complaints(log)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// firstComplaint is why a program ended: what follows comes of it.
func firstComplaint(stderr string) string {
	all := complaints(stderr)
	if len(all) == 0 {
		return ""
	}
	return all[0]
}

// psqlError is where and why psql stopped. Line is 0 where it doesn't say.
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
