package report

import (
	"strings"
	"testing"

	"pgapp/appliance"
)

func rowOf(t *testing.T, c Comparison, variant, figure string) Row {
	t.Helper()
	for _, r := range c.Rows {
		if r.Variant == variant && r.Figure == figure {
			return r
		}
	}
	t.Fatalf("no row of %s, %s in %+v", variant, figure, c.Rows)
	return Row{}
}

func TestCompareTellsDifferencesFromSpreads(t *testing.T) {
	t.Parallel()
	a, _ := twoVariants("throughput", 95, pointsOf("one", 100, 101, 99), pointsOf("three", 200, 220, 240))
	b, _ := twoVariants("throughput", 95, pointsOf("one", 150, 151, 149), pointsOf("three", 230, 250))
	a.ID, b.ID = "a", "b"
	b.Setting.Cores = 8
	a.Setting.Settings = map[string]string{"port": "5432", "shared_buffers": "1GB", "wal_level": "replica"}
	b.Setting.Settings = map[string]string{"port": "6543", "wal_level": "replica", "archive_command": ""}
	b.Points[0].Result.Driver.Late, b.State = true, appliance.BenchCancelled
	b.Experiments[0].Variants[1].Load.Clients = 9
	c, err := Compare(a, b)
	if err != nil {
		t.Fatal(err)
	}
	const figure = "answered requests a second"
	if r := rowOf(t, c, "one", figure); r.Verdict != "more" || r.Ratio == nil || r.Ratio.Median != 1.5 || r.A.String() != "100 (99 to 101)" {
		t.Errorf("a difference: %+v", r)
	}
	if r := rowOf(t, c, "three", figure); r.Verdict != "no difference" || r.B.Rounds != 2 {
		t.Errorf("spreads that overlap: %+v", r)
	}
	if notes := strings.Join(c.Notes, "\n"); notes != "cores: 0 against 8\nPostgreSQL's archive_command: its default against empty\nPostgreSQL's shared_buffers: 1GB against its default\n"+
		"the driver was late in 1 of 5 points of B, so there the driver may have been measured, not the cluster\nB is cancelled\nx, “three”: the two were loaded or set up differently" {
		t.Errorf("notes are %q", notes)
	}
	back, err := Compare(b, a)
	if err != nil || rowOf(t, back, "one", figure).Verdict != "less" {
		t.Errorf("the other way: %+v, %v", back.Rows, err)
	}
}

func TestCompareOfABenchWithItselfShowsNoDifference(t *testing.T) {
	t.Parallel()
	b := madeBench(7)
	c, err := Compare(b, b)
	if err != nil || len(c.Rows) < 50 || len(c.Notes) > 0 {
		t.Fatalf("%d rows, notes %q, %v", len(c.Rows), c.Notes, err)
	}
	for _, r := range c.Rows {
		if r.Verdict != "no difference" {
			t.Errorf("%+v", r)
		}
	}
}

func TestCompareRefusesBenchesWithNothingInCommon(t *testing.T) {
	t.Parallel()
	a, other := madeBench(7), madeBench(7)
	for i := range other.Experiments {
		other.Experiments[i].Name += "-other"
	}
	unmeasured := madeBench(7)
	unmeasured.Points = nil
	for _, b := range []appliance.Bench{other, unmeasured, {ID: "empty"}} {
		if _, err := Compare(a, b); err == nil || !strings.Contains(err.Error(), "in common") {
			t.Errorf("comparing with %s: %v", b.ID, err)
		}
	}
}

func TestCompareOfOneRoundDecidesNothing(t *testing.T) {
	t.Parallel()
	a, _ := twoVariants("commit", 50, pointsOf("one", 1))
	b, _ := twoVariants("commit", 50, pointsOf("one", 9, 10))
	c, err := Compare(a, b)
	if err != nil || rowOf(t, c, "one", "median time of a write").Verdict != "unknown, one round" {
		t.Errorf("%+v, %v", c, err)
	}
}
