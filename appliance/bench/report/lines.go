package report

import (
	"fmt"
	"math"
	"strings"
)

// line is a series of a plot of lines.
type line struct {
	Name  string
	Spots []spot
}

// lines is a plot of lines, y from zero.
type lines struct {
	Title, XAxis, YAxis string
	// XNames are the labels at x = 0, 1, 2 and so on; nil labels numbers.
	XNames []string
	// Log is set where the y axis is logarithmic.
	Log    bool
	Series []line
	// Marks are vertical lines, with their words in the legend.
	Marks []mark
}

// mark says what happened at an x.
type mark struct {
	At   float64
	Word string
}

const (
	frameLeft   = 52
	frameRight  = plotWidth - 14
	frameTop    = 26
	frameBottom = 206
	legendWidth = plotWidth - frameLeft - 34
)

// plot draws the lines. The legend stands below the axis, so it hides no data.
func (l lines) plot() plot {
	rows := len(l.Series) + len(l.Marks)
	p := plot{Title: l.Title, Height: frameBottom + 46 + float64(rows)*lineHeight}
	names := make([]string, len(l.Series), rows)
	for i, s := range l.Series {
		names[i] = s.Name
	}
	for _, m := range l.Marks {
		names = append(names, m.Word)
	}
	p.Desc = fmt.Sprintf("Lines of %s by %s: %s.", l.YAxis, l.XAxis, strings.Join(names, ", "))
	p.draw = l.draw
	return p
}

func (l lines) draw(on surface) {
	var top, right float64
	low := math.Inf(1)
	for _, s := range l.Series {
		for _, p := range s.Spots {
			top, right = max(top, p.Y), max(right, p.X)
			if p.Y > 0 {
				low = min(low, p.Y)
			}
		}
	}
	y := l.drawY(on, low, top)
	x := l.drawX(on, right)
	on.Text(l.YAxis, 2, 13, smallSize, inkMuted)
	for i, m := range l.Marks {
		at := min(max(x(m.At), frameLeft), frameRight)
		on.Line([]spot{{at, frameTop}, {at, frameBottom}}, inkText, 1.2, true)
		base := legendRow(len(l.Series) + i)
		on.Line([]spot{{frameLeft, base - 4}, {frameLeft + 22, base - 4}}, inkText, 1.2, true)
		on.Text(fitText(on, m.Word, smallSize, legendWidth), frameLeft+30, base, smallSize, inkText)
	}
	for i, s := range l.Series {
		spots := make([]spot, len(s.Spots))
		for j, p := range s.Spots {
			spots[j] = spot{x(p.X), y(p.Y)}
		}
		on.Line(spots, seriesInk(i), 2, seriesDashed(i))
		base := legendRow(i)
		on.Line([]spot{{frameLeft, base - 4}, {frameLeft + 22, base - 4}}, seriesInk(i), 3, seriesDashed(i))
		on.Text(fitText(on, s.Name, smallSize, legendWidth), frameLeft+30, base, smallSize, inkText)
	}
}

// legendRow is the baseline of the nth row below the plot.
func legendRow(n int) float64 { return frameBottom + 58 + float64(n)*lineHeight }

// drawY draws the y axis and tells where values are.
func (l lines) drawY(on surface, low, top float64) func(float64) float64 {
	height := float64(frameBottom - frameTop)
	tick := func(y float64, label string) {
		on.Line([]spot{{frameLeft, y}, {frameRight, y}}, inkGrid, 1, false)
		textEnding(on, label, frameLeft-6, y+4, smallSize, inkMuted)
	}
	if !l.Log || math.IsInf(low, 1) {
		s := scaleTo(top)
		at := func(v float64) float64 { return frameBottom - s.at(v)*height }
		for _, t := range s.ticks() {
			tick(at(t), tickLabel(t))
		}
		return at
	}
	from, to := math.Floor(math.Log10(min(max(low, leastTop), mostTop))), math.Ceil(math.Log10(min(max(top, leastTop), mostTop))+1e-9)
	to = max(to, from+1)
	at := func(v float64) float64 {
		part := (math.Log10(max(v, math.Pow(10, from))) - from) / (to - from)
		return frameBottom - min(1, max(0, part))*height
	}
	for e := from; e <= to; e++ {
		tick(at(math.Pow(10, e)), tickLabel(math.Pow(10, e)))
	}
	return at
}

// drawX draws the x axis and tells where values are.
func (l lines) drawX(on surface, right float64) func(float64) float64 {
	width := float64(frameRight - frameLeft)
	textMiddle(on, l.XAxis, frameLeft+width/2, frameBottom+36)
	if l.XNames != nil {
		step := width / float64(len(l.XNames))
		at := func(v float64) float64 { return frameLeft + step*(v+0.5) }
		for i, name := range l.XNames {
			textMiddle(on, name, at(float64(i)), frameBottom+17)
		}
		return at
	}
	s := scaleTo(right)
	end := max(right, s.Step)
	at := func(v float64) float64 { return frameLeft + v/end*width }
	for _, t := range s.ticks() {
		if t <= end {
			textMiddle(on, tickLabel(t), at(t), frameBottom+17)
		}
	}
	return at
}
