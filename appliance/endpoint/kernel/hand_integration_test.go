//go:build integration

package kernel

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgapp/appliance"
)

// TestIntactFindsRulesOfAnotherHand changes the table, as a person may.
func TestIntactFindsRulesOfAnotherHand(t *testing.T) {
	t.Parallel()
	a, b, c := serve(t, "a", "127.0.66.1:5432"), serve(t, "b", "127.0.66.2:5432"), serve(t, "c", "127.0.66.3:5432")
	w := newWays(t, "127.0.0.1:6090", "127.0.0.1:6091")
	lead := func(standbys ...*server) {
		w.lead(func(r *appliance.Route) {
			r.Primary, r.Standbys = &a.RouteMember, nil
			for _, s := range standbys {
				r.Standbys = append(r.Standbys, appliance.RouteStandby{RouteMember: s.RouteMember, New: true})
			}
		})
	}
	intact := func(why string, want bool) {
		t.Helper()
		if got, err := w.Intact(t.Context(), []appliance.Route{w.is}); err != nil || got != want {
			t.Errorf("%s: intact: %v, error %v; want %v", why, got, err, want)
		}
	}
	for _, standbys := range [][]*server{nil, {b}, {b, c}} {
		lead(standbys...)
		intact("as it was set", true)
	}
	table, err := w.table()
	if err != nil {
		t.Fatal(err)
	}
	for _, by := range []string{
		"delete element ip TABLE leads { 127.0.0.1 . 6090 }; add element ip TABLE leads { 127.0.0.1 . 6090 : 127.0.66.2 . 5432 }",
		"delete element ip TABLE leads { 127.0.0.1 . 6090 }",
		"add element ip TABLE members { 127.0.0.1 . 6090 . 127.0.66.2 . 5432 }",
		"delete element ip TABLE endpoints { 127.0.0.1 . 6091 }",
		"flush chain ip TABLE guard",
		"flush table ip TABLE",
		"delete table ip TABLE",
	} {
		if err := nft(t.Context(), strings.ReplaceAll(by, "TABLE", table)); err != nil {
			t.Fatal(err)
		}
		intact(by, false)
		w.apply()
		intact("set again", true)
	}
	dial(t, w.is.RW).lives("set again")
}

// TestRemoveFindsTheTableOfADeletedHome deletes what names the table.
func TestRemoveFindsTheTableOfADeletedHome(t *testing.T) {
	t.Parallel()
	a := serve(t, "a", "127.0.71.1:5432")
	w := newWays(t, "127.0.0.1:6100", "")
	w.lead(func(r *appliance.Route) { r.Primary = &a.RouteMember })
	one := dial(t, w.is.RW)
	if err := os.Remove(filepath.Join(w.Home, FileName)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	one.cut("removed")
	name, err := w.name()
	if err != nil {
		t.Fatal(err)
	}
	if there, err := rules(name).exists(t.Context()); err != nil || there {
		t.Errorf("the table is there: %v, error %v", there, err)
	}
}
