package report

import (
	"math"
	"strconv"
)

// ink is the part of a colour in a plot; each surface has its own colour for it.
type ink int

// The inks. Those from inkSeries on are for series.
const (
	inkText ink = iota
	inkMuted
	inkGrid
	inkSurface
	inkSeries
)

// seriesInks is the number of inks for series.
const seriesInks = 6

// seriesInk is the ink of the nth series.
func seriesInk(n int) ink { return inkSeries + ink(n%seriesInks) }

// seriesDashed sets series apart whose ink is used twice.
func seriesDashed(n int) bool { return n/seriesInks%2 == 1 }

// spot is a point on a surface, y downwards.
type spot struct{ X, Y float64 }

// surface is what plots are drawn on. Units are CSS pixels of a plot that is plotWidth
// wide.
type surface interface {
	Box(x, y, width, height float64, fill ink)
	Line(spots []spot, stroke ink, width float64, dashed bool)
	// Text begins at x, with its baseline at y.
	Text(s string, x, y, size float64, fill ink)
	// TextWidth is the width of s.
	TextWidth(s string, size float64) float64
}

// plot is a picture that can be drawn on any surface.
type plot struct {
	// Title and Desc say in words what is seen.
	Title, Desc string
	Height      float64
	draw        func(surface)
}

const (
	plotWidth = 480
	textSize  = 14
	smallSize = 13
	// lineHeight is that of rows of text.
	lineHeight = 18
)

// fitText cuts s to a width.
func fitText(on surface, s string, size, width float64) string {
	if on.TextWidth(s, size) <= width {
		return s
	}
	r := []rune(s)
	for len(r) > 0 && on.TextWidth(string(r)+"…", size) > width {
		r = r[:len(r)-1]
	}
	return string(r) + "…"
}

// textEnding writes s so that it ends at x, and textMiddle a small, muted s so that its middle is there.
func textEnding(on surface, s string, x, y, size float64, fill ink) {
	on.Text(s, x-on.TextWidth(s, size), y, size, fill)
}

func textMiddle(on surface, s string, x, y float64) {
	on.Text(s, x-on.TextWidth(s, smallSize)/2, y, smallSize, inkMuted)
}

// scale maps values from zero on to a length.
type scale struct {
	Top, Step float64
}

// The least and the most that a scale goes to. A record may come from a stranger, and steps
// of figures beyond have no end.
const (
	leastTop = 1e-9
	mostTop  = 1e15
)

// scaleTo is a scale from zero to at least top, with 3 to 6 steps.
func scaleTo(top float64) scale {
	if top <= 0 || math.IsInf(top, 0) || math.IsNaN(top) {
		top = 1
	}
	top = min(max(top, leastTop), mostTop)
	rough := top / 5
	unit := math.Pow(10, math.Floor(math.Log10(rough)))
	step := 10 * unit
	for _, f := range []float64{1, 2, 5} {
		if rough <= f*unit*1.0001 {
			step = f * unit
			break
		}
	}
	return scale{Top: math.Ceil(top/step-0.0001) * step, Step: step}
}

// ticks are the values that have a label.
func (s scale) ticks() []float64 {
	var all []float64
	for n := 0; float64(n)*s.Step <= s.Top*1.0001; n++ {
		all = append(all, float64(n)*s.Step)
	}
	return all
}

// at is the part of a length that v takes, 0 to 1.
func (s scale) at(v float64) float64 { return min(1, max(0, v/s.Top)) }

// tickLabel writes a value of the axis.
func tickLabel(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(math.Round(v/1e4)/100, 'f', -1, 64) + "M"
	case v >= 1e4:
		return strconv.FormatFloat(math.Round(v/10)/100, 'f', -1, 64) + "k"
	case v >= 1e3:
		return number(v)
	}
	return strconv.FormatFloat(math.Round(v*1e4)/1e4, 'f', -1, 64)
}
