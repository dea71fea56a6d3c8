package postgres

import (
	"regexp"
	"strings"
)

// lastComplaint returns the last error of a server's or program's output.
func lastComplaint(text string) string {
	re := regexp.MustCompile(`(?:FATAL|PANIC|ERROR|error|fatal):\s+(.*)`)
	all := re.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return ""
	}
	return strings.TrimSpace(all[len(all)-1][1])
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
