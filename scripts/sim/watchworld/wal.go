package watchworld

import "pgapp/appliance"

// record is the size of a record of WAL, so that the lag that package ha allows is four
// of them.
const record appliance.LSN = 4 << 20

// fork is a timeline as it truly is: no two promotions share one, whatever numbers
// they take.
type fork struct {
	parent *fork
	// at is the end of the parent's WAL in this fork.
	at    int
	depth int
	line  appliance.Line
}

// wal is the WAL of a server: all of the fork up to its end.
type wal struct {
	fork *fork
	end  int
}

func (a wal) lsn() appliance.LSN { return appliance.LSN(a.end) * record } //nolint:gosec // small

// shared is the number of records that both have.
func (a wal) shared(b wal) int {
	for a.fork != b.fork {
		if a.fork.depth < b.fork.depth {
			a, b = b, a
		}
		a.end = min(a.end, a.fork.at)
		a.fork = a.fork.parent
	}
	return min(a.end, b.end)
}

// has tells whether all of b is in a.
func (a wal) has(b wal) bool { return a.shared(b) == b.end }

// upTo is the beginning of the WAL.
func (a wal) upTo(end int) wal {
	a.end = min(a.end, end)
	for a.fork.parent != nil && a.end <= a.fork.at {
		a.fork = a.fork.parent
	}
	return a
}

// promoted is the WAL after a promotion, with its first record.
func (a wal) promoted() wal {
	line := appliance.Line{Timeline: a.fork.line.Timeline + 1}
	line.Ancestors = append(append(line.Ancestors, a.fork.line.Ancestors...), appliance.Switch{Timeline: a.fork.line.Timeline, At: a.lsn()})
	return wal{fork: &fork{parent: a.fork, at: a.end, depth: a.fork.depth + 1, line: line}, end: a.end + 1}
}

// streams tells whether PostgreSQL lets a server with WAL a stream from one with WAL
// b: histories are compared, records are not.
func (a wal) streams(b wal) bool {
	l, m := b.fork.line, a.fork.line
	if a.end > b.end {
		return false
	}
	if m.Timeline == l.Timeline {
		return same(m.Ancestors, l.Ancestors)
	}
	for i, s := range l.Ancestors {
		if s.Timeline == m.Timeline {
			return same(m.Ancestors, l.Ancestors[:i]) && a.lsn() <= s.At
		}
	}
	return false
}

func same(a, b []appliance.Switch) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
