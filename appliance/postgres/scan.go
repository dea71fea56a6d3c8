package postgres

import (
	"bytes"
	"fmt"
	"regexp"
)

// connectGuard watches an SQL script go by and stops it at a \connect: psql
// would follow it out of the scratch database, and what then goes wrong could
// not be undone. Rows of COPY data are not looked at.
type connectGuard struct {
	line   int64
	inCopy bool
	// head and tail are the current line's first and last bytes.
	head, tail []byte
}

const guardBytes = 64

// errConnect is where a script leaves its database.
type errConnect struct{ line int64 }

// Error says what to do instead.
func (e *errConnect) Error() string {
	return fmt.Sprintf(`line %d: \connect leads out of the database that is being loaded`, e.line)
}

// see looks at the script's next bytes.
func (g *connectGuard) see(b []byte) error {
	for len(b) > 0 {
		part, rest, whole := bytes.Cut(b, []byte{'\n'})
		g.add(part)
		if whole {
			if err := g.endLine(); err != nil {
				return err
			}
		}
		b = rest
	}
	return g.check()
}

func (g *connectGuard) add(part []byte) {
	if room := guardBytes - len(g.head); room > 0 {
		g.head = append(g.head, part[:min(room, len(part))]...)
	}
	g.tail = append(g.tail, part[max(0, len(part)-guardBytes):]...)
	g.tail = g.tail[max(0, len(g.tail)-guardBytes):]
}

// check refuses the current line as soon as it shows what it is.
func (g *connectGuard) check() error {
	if !g.inCopy && len(g.head) > 0 && g.head[0] == '\\' && regexp.MustCompile(`^\\c(onnect)?\s`).Match(g.head) {
		return &errConnect{g.line + 1}
	}
	return nil
}

func (g *connectGuard) endLine() error {
	head, tail := bytes.TrimRight(g.head, "\r"), bytes.TrimRight(g.tail, "\r ")
	switch {
	case g.inCopy:
		g.inCopy = !bytes.Equal(head, []byte(`\.`))
	case len(head) > 4 && bytes.EqualFold(head[:5], []byte("COPY ")):
		g.inCopy = regexp.MustCompile(`(?i)\sFROM\s+STDIN\b.*;$`).Match(tail)
	default:
		g.head = append(g.head, '\n')
		if err := g.check(); err != nil {
			return err
		}
	}
	g.head, g.tail = g.head[:0], g.tail[:0]
	g.line++
	return nil
}
