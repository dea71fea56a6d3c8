package report

import (
	"strings"
)

const (
	barHeight   = 14
	barRow      = lineHeight + barHeight + 12
	valueMargin = 72
	axisHeight  = 44
)

// barsOf draws the medians of variants as bars from zero, with a whisker from the least
// round to the most. A variant without figures has a row that says so.
func barsOf(title string, m measure, all []measured) plot {
	top := 0.0
	var words []string
	for _, v := range all {
		top = max(top, v.Max)
		if v.Rounds > 0 {
			words = append(words, v.Name+": "+ranged(v.spread, m.Unit))
		}
	}
	s := scaleTo(top)
	p := plot{Title: title, Height: float64(len(all))*barRow + axisHeight}
	p.Desc = "Bars from zero of " + m.Axis + ", median and spread. " + strings.Join(words, ". ") + "."
	p.draw = func(on surface) {
		bottom := float64(len(all)) * barRow
		width := float64(plotWidth - valueMargin)
		for _, t := range s.ticks() {
			x := 2 + s.at(t)*(width-2)
			on.Line([]spot{{x, 4}, {x, bottom}}, inkGrid, 1, false)
			if t == 0 {
				on.Text(tickLabel(t), 0, bottom+15, smallSize, inkMuted)
				continue
			}
			textMiddle(on, tickLabel(t), x, bottom+15)
		}
		on.Text(axisLabel(m), 0, bottom+35, smallSize, inkMuted)
		for i, v := range all {
			drawBar(on, v, s, float64(i)*barRow, width, m.Unit)
		}
	}
	return p
}

func drawBar(on surface, v measured, s scale, y, width float64, unit string) {
	on.Text(fitText(on, v.Name, textSize, plotWidth-8), 2, y+lineHeight-2, textSize, inkText)
	y += lineHeight + 3
	if v.Rounds == 0 {
		on.Text("not measured", 4, y+barHeight-3, smallSize, inkMuted)
		return
	}
	x := func(value float64) float64 { return 2 + s.at(value)*(width-2) }
	on.Box(2, y, x(v.Median)-2, barHeight, inkSeries)
	middle := y + barHeight/2
	if v.Rounds > 1 {
		on.Line([]spot{{x(v.Min), middle}, {x(v.Max), middle}}, inkText, 1.5, false)
		for _, end := range []float64{v.Min, v.Max} {
			on.Line([]spot{{x(end), middle - 5}, {x(end), middle + 5}}, inkText, 1.5, false)
		}
	}
	on.Text(quantity(v.Median, unit), x(max(v.Max, v.Median))+6, y+barHeight-2, smallSize, inkText)
}

// axisLabel names the figure and its unit.
func axisLabel(m measure) string {
	if m.Unit == "/s" {
		return m.Axis
	}
	return m.Axis + ", " + m.Unit
}
