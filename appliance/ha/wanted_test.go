package ha

import (
	"testing"

	"pgapp/appliance"
)

// TestNextRefusesTheWantedMemberThatIsBehindBeforeTheFence has a primary that is dead, so
// that the standbys' positions are known for good before anything is ended.
func TestNextRefusesTheWantedMemberThatIsBehindBeforeTheFence(t *testing.T) {
	t.Parallel()
	c := openChange(appliance.OpFailover, appliance.ChangeLooking)
	c.Wanted = "b"
	for name, promise := range map[string]appliance.Promise{"async": {}, "quorum": Over("b", "c")} {
		f := Facts{
			Known: Known{Identifier: "1", Line: line(1), Primary: "a", Promise: promise}, Lag: DefaultLag,
			Standings: []Standing{standing("b", 1000), standing("c", 2000)},
		}
		first := f
		first.Standings = []Standing{standing("b", 1000), standing("c", 2000)}
		for i := range first.Standings {
			first.Standings[i].Settled = false
		}
		if s := Next(c, first); s.Change.Phase != appliance.ChangeLooking {
			t.Errorf("%s: the first look went to %s", name, s.Change.Phase)
		}
		if s := Next(c, f); s.Change.Phase != appliance.ChangeLooking {
			t.Errorf("%s: with b behind, looking went to %s", name, s.Change.Phase)
		}
		f.Expired = true
		s := Next(c, f)
		if s.Change.Phase != appliance.ChangeRefused || s.Change.Why == nil || s.Change.Why.Unfit["b"] != "lacks commits that c has" {
			t.Errorf("%s: at last looking went to %s (%+v)", name, s.Change.Phase, s.Change.Why)
		}
		f.Expired, f.Standings[0] = false, standing("b", 2000)
		if s := Next(c, f); s.Change.Phase != appliance.ChangeFencing {
			t.Errorf("%s: with b level, looking went to %s (%+v)", name, s.Change.Phase, s.Change.Why)
		}
		f.Standings[0], f.Lag = standing("b", 1000), ^appliance.LSN(0) // it will take the rest
		if s := Next(c, f); s.Change.Phase != appliance.ChangeFencing {
			t.Errorf("%s: with the dead primary's WAL in reach, looking went to %s (%+v)", name, s.Change.Phase, s.Change.Why)
		}
	}
}

// TestNextPromotesAnotherWhereTheWantedMemberIsOut has the wanted member turn out to be
// behind when the old primary has ended. Without another one nobody would be the primary.
func TestNextPromotesAnotherWhereTheWantedMemberIsOut(t *testing.T) {
	t.Parallel()
	silent := standing("b", 1000)
	silent.Answered, silent.Awaited = false, true
	for _, tc := range []struct {
		name    string
		wanted  Standing
		expired bool
		tried   []string
		phase   appliance.ChangePhase
		to, why string
	}{
		{"it is behind", standing("b", 1000), false, nil, appliance.ChangePromoting, "c", "lacks commits that c has"},
		{"it is level", standing("b", 2000), false, nil, appliance.ChangePromoting, "b", ""},
		{"it is silent", silent, false, nil, appliance.ChangeElecting, "", ""},
		{"it is silent for long", silent, true, nil, appliance.ChangePromoting, "c", ""},
		{"it was not promoted in time", standing("b", 2000), false, []string{"b"}, appliance.ChangePromoting, "c", "was tried before"},
	} {
		c := openChange(appliance.OpFailover, appliance.ChangeElecting)
		c.Wanted, c.Tried = "b", tc.tried
		s := Next(c, Facts{
			Known: Known{Identifier: "1", Line: line(1), Primary: "a"}, Lag: DefaultLag, Expired: tc.expired,
			Standings: []Standing{tc.wanted, standing("c", 2000)}, Old: Server{Gone: true},
		})
		why := ""
		if s.Change.Why != nil {
			why = s.Change.Why.Unfit["b"]
		}
		if s.Change.Phase != tc.phase || s.Change.To != tc.to || why != tc.why {
			t.Errorf("%s: phase %s, to %q, because b %q; want %s, %q, %q", tc.name, s.Change.Phase, s.Change.To, why, tc.phase, tc.to, tc.why)
		}
	}
}
