package world

import (
	"slices"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

// mostSaves is how many commits to the store a failover takes from its fence to the
// first commit of the new primary.
const mostSaves = 4

// judge looks at a decision and the facts that it was made on.
func (w *World) judge(c appliance.PrimaryChange, f ha.Facts, s ha.Step) {
	if !c.Phase.Committed() && s.Change.Phase == appliance.ChangePromoting {
		if !f.Old.Gone {
			w.fail("%s is to be promoted, and the last look did not find that %s has ended", s.Change.To, c.From)
		}
		for _, st := range f.Standings {
			if st.Answered && st.Primary {
				w.fail("%s is to be promoted beside %s, which the last look found to take writes", s.Change.To, st.Member)
			}
		}
	}
	if !c.Phase.Committed() && s.Change.Phase == appliance.ChangePromoting && !c.AllowDataLoss && !f.Expired {
		w.awaited(f, w.member(s.Change.To))
	}
	to := w.member(c.To)
	if c.Phase == appliance.ChangePromoting && s.Change.Phase == appliance.ChangeRetracting && w.calmFor > patience && to.running && to.signal {
		w.fail("%s is given up, and nothing hinders its promotion any more", c.To)
	}
}

// awaited wants nobody promoted in time who lacks an acknowledged commit of a standby
// that runs and whose answer was missing.
func (w *World) awaited(f ha.Facts, to *member) {
	for _, st := range f.Standings {
		m := w.member(st.Member)
		if st.Answered || !m.running || st.Return != "" {
			continue
		}
		for _, r := range w.acked {
			if slices.Contains(m.wal, r) && !slices.Contains(to.wal, r) {
				w.fail("%s is to be promoted without commit %d of %s, which runs", to.name, r, m.name)
				return
			}
		}
	}
}

// count counts what the change saves. Whatever is asked again, is saved once.
func (w *World) count(c appliance.PrimaryChange, s ha.Step) {
	if s.Known == nil && s.Change.Phase == c.Phase && s.Change.To == c.To {
		return
	}
	w.saves++
	switch s.Change.Phase {
	case appliance.ChangeFencing:
		w.detour = w.saves > 1
		w.saves = 1
	case appliance.ChangeRetracting:
		w.detour = true
	}
	if s.Change.Phase == appliance.ChangeDone && !w.detour && w.saves > mostSaves {
		w.fail("the change was saved %d times from the fence to the first commit, more than %d", w.saves, mostSaves)
	}
}

// kept wants the recorded promise to hold for all that the member acknowledges up to the
// position.
func (w *World) kept(m *member, end int) {
	p := w.record.Promise
	n := 0
	for _, name := range p.Set {
		if shared(w.member(name).wal, m.wal) >= end {
			n++
		}
	}
	if n < p.K {
		w.fail("%s acknowledges commits that %d of %v have, and %s is promised", m.name, n, p.Set, p)
	}
}

// lost takes from the acknowledged commits what an asynchronous failover may lose.
func (w *World) lost(c appliance.PrimaryChange, to *member) {
	missing := slices.DeleteFunc(slices.Clone(w.acked), func(r int) bool { return slices.Contains(to.wal, r) })
	if len(missing) == 0 {
		return
	}
	// Without a look at the primary since the daemon's start nothing bounds the loss.
	bounded := w.driver.primary != 0 && !c.AllowDataLoss
	if c.Kind == appliance.OpSwitchover || !c.AllowDataLoss && w.quorum && !w.record.Promise.None() || bounded && len(missing) > 2*lag {
		w.fail("the change to %s loses %d acknowledged commits", to.name, len(missing))
	}
	w.acked = slices.DeleteFunc(w.acked, func(r int) bool { return slices.Contains(missing, r) })
}
