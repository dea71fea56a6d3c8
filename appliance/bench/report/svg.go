package report

import (
	"bytes"
	"fmt"
	"html/template"
	"strings"

	"github.com/go-analyze/charts"
)

// svgScale is how many units of the picture a CSS pixel has, as the painter rounds to
// whole units.
const svgScale = 4

// painted is the surface of an SVG picture.
type painted struct{ p *charts.Painter }

// inkColour is a colour that stands for an ink until inked replaces it.
func inkColour(i ink) charts.Color { return charts.ColorRGB(1, 2, 100+uint8(i)) }

// inked replaces the stand-ins by the page's variables, so that the colours follow the
// reader's light or dark scheme. A text that holds such a colour, letter by letter, is
// shown with the variable's name.
func inked(svg []byte) []byte {
	for i := range inkSeries + seriesInks {
		colour := inkColour(i).String()
		for _, property := range []string{"stroke", "fill"} {
			svg = bytes.ReplaceAll(svg, []byte(property+":"+colour), fmt.Appendf(nil, "%s:var(--ink%d)", property, i))
		}
	}
	return svg
}

func (s painted) Box(x, y, width, height float64, fill ink) {
	c := inkColour(fill)
	s.p.FilledRect(unit(x), unit(y), unit(x+width), unit(y+height), c, c, 0)
}

func (s painted) Line(spots []spot, stroke ink, width float64, dashed bool) {
	points := make([]charts.Point, len(spots))
	for i, p := range spots {
		points[i] = charts.Point{X: unit(p.X), Y: unit(p.Y)}
	}
	if dashed {
		s.p.DashedLineStroke(points, inkColour(stroke), width*svgScale, []float64{5 * svgScale, 4 * svgScale})
		return
	}
	s.p.LineStroke(points, inkColour(stroke), width*svgScale)
}

func (s painted) Text(text string, x, y, size float64, fill ink) {
	s.p.Text(text, unit(x), unit(y), 0, fontOf(size, fill))
}

func (s painted) TextWidth(text string, size float64) float64 {
	return float64(s.p.MeasureText(text, 0, fontOf(size, inkText)).Width()) / svgScale
}

// fontOf takes the size in pixels; the painter counts points at 92 dots an inch.
func fontOf(size float64, fill ink) charts.FontStyle {
	return charts.FontStyle{FontSize: size * svgScale * 72 / 92, FontColor: inkColour(fill), Font: charts.GetFont(charts.FontFamilyRoboto)}
}

func unit(v float64) int { return int(v*svgScale + 0.5) }

// svgOf draws a plot as an SVG element, whose title and description a screen reader
// reads. id is a word that no other element of the page has.
func svgOf(p plot, id string) (template.HTML, error) {
	painter := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: unit(plotWidth), Height: unit(p.Height)})
	p.draw(painted{painter})
	raw, err := painter.Bytes()
	if err != nil {
		return "", fmt.Errorf("drawing plot %q: %w", p.Title, err)
	}
	_, body, ok := strings.Cut(string(inked(raw)), ">")
	if !ok {
		return "", fmt.Errorf("drawing plot %q: the painter's SVG has no element", p.Title)
	}
	head := fmt.Sprintf(`<svg viewBox="0 0 %d %d" role="img" aria-labelledby="%s-t %s-d"><title id="%s-t">%s</title><desc id="%s-d">%s</desc>`,
		unit(plotWidth), unit(p.Height), id, id, id, template.HTMLEscapeString(p.Title), id, template.HTMLEscapeString(p.Desc))
	return template.HTML(head + body), nil // the painter escapes text, and the head is escaped here
}
