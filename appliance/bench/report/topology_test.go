package report

import (
	"fmt"
	"strings"
	"testing"

	"pgapp/appliance"
)

func TestTreeRowsHaveEachMemberOnceBelowItsUpstream(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, members, want string
	}{
		{"a chain beside a standby", "c<b b<a a d<a", "a0 b1 c2 d1"},
		{"an upstream that is no member", "a b<x", "a0 b0"},
		{"a circle", "a b<c c<b", "a0 b0 c1"},
		{"a member that streams from itself", "a<a", "a0"},
		{"a name twice", "a a", "a0"},
		{"none", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var members []appliance.BenchMember
			for _, word := range strings.Fields(c.members) {
				name, upstream, _ := strings.Cut(word, "<")
				members = append(members, appliance.BenchMember{Name: name, Upstream: upstream})
			}
			var got []string
			for _, r := range treeRows(members) {
				got = append(got, fmt.Sprint(r.Name, r.depth))
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("rows are %q, want %q", s, c.want)
			}
		})
	}
}

func TestScaleBeginsAtZeroAndHoldsTheTop(t *testing.T) {
	t.Parallel()
	for _, top := range []float64{0, 0.003, 0.9, 1, 7, 10, 99.5, 1234, 5e6} {
		s := scaleTo(top)
		ticks := s.ticks()
		if s.Top < top || ticks[0] != 0 || len(ticks) < 3 || len(ticks) > 7 {
			t.Errorf("scaleTo(%v) = %+v, ticks %v", top, s, ticks)
		}
	}
}
