package report

import (
	"fmt"
	"strings"

	"pgapp/appliance"
)

const (
	memberWidth  = 218
	memberHeight = 58
	memberIndent = 46
	memberGap    = 14
)

// topologyOf draws the members, each below the member that it streams from.
func topologyOf(members []appliance.BenchMember) plot {
	rows := treeRows(members)
	p := plot{Title: "The cluster when the bench began", Height: float64(len(rows))*(memberHeight+memberGap) + 4}
	var words []string
	for _, r := range rows {
		w := fmt.Sprintf("%s is a %s at %s", r.Name, r.Role, r.Address)
		if r.Upstream != "" {
			w += " that streams from " + r.Upstream
		}
		words = append(words, w)
	}
	p.Desc = strings.Join(words, "; ") + "."
	p.draw = func(on surface) {
		for i, r := range rows {
			drawMember(on, rows, i, r)
		}
	}
	return p
}

// treeRow is a member in the drawing.
type treeRow struct {
	appliance.BenchMember
	// depth counts the streams from the root; over is the row of the upstream, or -1.
	depth, over int
}

// treeRows orders members so that each follows its upstream. Members whose upstream is
// unknown, or that stream in a circle, stand as roots.
func treeRows(members []appliance.BenchMember) []treeRow {
	var rows []treeRow
	placed := map[string]bool{}
	var place func(m appliance.BenchMember, depth, over int)
	place = func(m appliance.BenchMember, depth, over int) {
		if placed[m.Name] {
			return
		}
		placed[m.Name] = true
		rows = append(rows, treeRow{m, depth, over})
		here := len(rows) - 1
		for _, c := range members {
			if c.Upstream == m.Name {
				place(c, depth+1, here)
			}
		}
	}
	for _, m := range members {
		if m.Upstream == "" {
			place(m, 0, -1)
		}
	}
	for _, m := range members {
		place(m, 0, -1)
	}
	return rows
}

func drawMember(on surface, rows []treeRow, i int, r treeRow) {
	// Deep chains are drawn no further to the right than there is room.
	left := func(depth int) float64 { return 2 + float64(min(depth, 5))*memberIndent }
	x, y := left(r.depth), float64(i)*(memberHeight+memberGap)+2
	if r.over >= 0 {
		over := rows[r.over]
		from := left(over.depth) + memberIndent/2
		start := float64(r.over)*(memberHeight+memberGap) + 2 + memberHeight
		middle := y + memberHeight/2
		on.Line([]spot{{from, start}, {from, middle}, {x, middle}}, inkMuted, 1.5, r.Sync == "" || r.Sync == "async")
		on.Line([]spot{{x - 8, middle - 5}, {x, middle}, {x - 8, middle + 5}}, inkMuted, 1.5, false)
		if label := streamLabel(r.BenchMember); label != "" {
			on.Text(fitText(on, label, smallSize, plotWidth-x-memberWidth-10), x+memberWidth+8, middle+4, smallSize, inkMuted)
		}
	}
	colour := seriesInk(0)
	if r.Upstream != "" {
		colour = seriesInk(1)
	}
	on.Box(x, y, memberWidth, memberHeight, inkSurface)
	on.Line([]spot{{x, y}, {x + memberWidth, y}, {x + memberWidth, y + memberHeight}, {x, y + memberHeight}, {x, y}}, inkGrid, 1, false)
	on.Box(x, y, 5, memberHeight, colour)
	room := float64(memberWidth - 22)
	on.Text(fitText(on, r.Name+" · "+r.Role, textSize, room), x+14, y+18, textSize, inkText)
	on.Text(fitText(on, r.Address, smallSize, room), x+14, y+34, smallSize, inkMuted)
	on.Text(fitText(on, r.Place, smallSize, room), x+14, y+50, smallSize, inkMuted)
}

// streamLabel says how a standby is replicated to.
func streamLabel(m appliance.BenchMember) string {
	if m.Sync == "" {
		return "streams"
	}
	return "streams, " + m.Sync
}
