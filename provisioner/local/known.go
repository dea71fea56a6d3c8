package local

import (
	"os"
	"path/filepath"
	"sync"
)

// acquaintances are the members' postmasters that were found before. To find one takes
// many files, to recognize one takes three. The zero value is ready for use.
type acquaintances struct {
	mu sync.Mutex
	of map[acquaintanceKey]acquaintance
}

// acquaintanceKey is a member's directory, and the owner that its marker has to name.
type acquaintanceKey struct {
	dir  string
	mark marker
}

// acquaintance is a postmaster that was found in a member's own data directory. It is the
// same one, at the same place, as long as all of this stays.
type acquaintance struct {
	p proc
	// start and cwd are the process's; a directory that is renamed changes cwd.
	start, cwd string
	// mark is the member's marker.
	mark os.FileInfo
}

func (m *machine) acquaintanceKey() acquaintanceKey { return acquaintanceKey{m.dir, m.marker()} }

// meet remembers the member's postmaster.
func (a *acquaintances) meet(m *machine, p proc) {
	mark, err := os.Lstat(filepath.Join(m.dir, markerFile))
	cwd, cwdErr := p.cwd()
	_, _, start := p.life()
	if err != nil || cwdErr != nil || cwd == "" || start == "" {
		return
	}
	// Looked at again, so that what was read before is the postmaster's and the member's.
	if again, ok, err := m.namedPostmaster(); err != nil || !ok || again != p {
		return
	}
	if own, err := m.owned(); err != nil || own != ours {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil {
		a.of = map[acquaintanceKey]acquaintance{}
	}
	a.of[m.acquaintanceKey()] = acquaintance{p: p, start: start, cwd: cwd, mark: mark}
}

// recognize returns the postmaster if it was met and still is the member's, and the state
// of its process.
func (a *acquaintances) recognize(m *machine) (known acquaintance, state byte, ok bool) {
	key := m.acquaintanceKey()
	a.mu.Lock()
	known, ok = a.of[key]
	a.mu.Unlock()
	if !ok {
		return acquaintance{}, 0, false
	}
	mark, err := os.Lstat(filepath.Join(m.dir, markerFile))
	cwd, cwdErr := known.p.cwd()
	state, _, start := known.p.life()
	if err == nil && cwdErr == nil && start == known.start && cwd == known.cwd && os.SameFile(mark, known.mark) && mark.ModTime().Equal(known.mark.ModTime()) {
		return known, state, true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.of, key)
	return acquaintance{}, 0, false
}
