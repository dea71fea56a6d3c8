package report

import (
	"fmt"
	"io"
	"strings"

	"codeberg.org/go-pdf/fpdf"
	"golang.org/x/text/encoding/charmap"
)

// Measures of the PDF in millimetres; fonts are in points.
const (
	pdfMargin = 15.0
	pdfWidth  = 297 - 2*pdfMargin
	pdfBottom = 210 - pdfMargin
	// pdfPlot is the width of a plot, so that those of an experiment with four variants are
	// on one page with its sentence.
	pdfPlot    = 114.0
	pdfGap     = 20.0
	pdfTitle   = 7.0
	pdfLine    = 5.2
	pdfCell    = 4.2
	pdfFont    = 10.5
	pdfCellPad = 1.2
	// paragraphGap is the gap below a paragraph.
	paragraphGap = 1.5
)

// printed writes a page as PDF. The fonts are PDF's own, which have the letters of
// Windows-1252.
type printed struct{ *fpdf.Fpdf }

// writePDF writes p as a PDF on A4, lying on its side.
func writePDF(to io.Writer, p page) error {
	w := printed{fpdf.New("L", "mm", "A4", "")}
	w.SetTitle(p.Title, true)
	w.SetCreator("pgapp", true)
	w.SetMargins(pdfMargin, pdfMargin, pdfMargin)
	w.SetAutoPageBreak(true, pdfMargin)
	w.SetCellMargin(0)
	w.SetFooterFunc(func() {
		w.SetY(-pdfMargin + 4)
		w.font("", 8, inkMuted)
		w.CellFormat(0, 4, fmt.Sprintf("%s, page %d", latin(p.Title), w.PageNo()), "", 0, "R", false, 0, "")
	})
	w.AddPage()
	w.font("B", 18, inkText)
	w.MultiCell(pdfWidth, 8, latin(p.Title), "", "L", false)
	w.paragraph(p.Subtitle, "", inkMuted)
	for _, s := range p.Sections {
		w.section(s)
	}
	if err := w.Output(to); err != nil {
		return fmt.Errorf("writing the PDF: %w", err)
	}
	return nil
}

func (w printed) section(s section) {
	w.room(w.opening(s))
	w.Ln(4)
	w.Bookmark(latin(s.Heading), 0, -1)
	w.font("B", 13, inkText)
	w.MultiCell(pdfWidth, 6.5, latin(s.Heading), "", "L", false)
	w.Ln(1)
	for _, b := range s.Blocks {
		w.block(b)
	}
}

// opening is the height of a section's heading with what must not be torn from it: the text
// as far as the first plots, which end on the same page, or the begin of what else follows.
func (w printed) opening(s section) float64 {
	const heading, begin = 11.5, 18.5
	height := heading
	for _, b := range s.Blocks {
		switch {
		case b.Text != "":
			height += w.paragraphHeight(b.Text, "")
		case b.Finding != "":
			height += w.paragraphHeight(b.Finding, "B")
		case len(b.Plots) > 0:
			at := columns{}
			for _, p := range b.Plots {
				at.place(p)
			}
			return min(height+at.bottom(), pdfBottom-pdfMargin)
		default:
			return height + begin
		}
	}
	return min(height, heading+begin)
}

func (w printed) paragraphHeight(s, style string) float64 {
	w.font(style, pdfFont, inkText)
	return float64(len(w.SplitLines([]byte(latin(s)), pdfWidth)))*pdfLine + paragraphGap
}

func (w printed) block(b block) {
	switch {
	case b.Text != "":
		w.paragraph(b.Text, "", inkText)
	case b.Finding != "":
		w.paragraph(b.Finding, "B", inkText)
	case b.Code != "":
		w.SetFont("Courier", "", 9.5)
		w.MultiCell(pdfWidth, pdfLine, latin(b.Code), "", "L", false)
		w.Ln(1.5)
	case b.Table != nil:
		w.table(*b.Table)
	}
	for _, item := range b.List {
		w.font("", pdfFont, inkText)
		w.room(pdfLine)
		w.Text(pdfMargin+1, w.GetY()+3.8, latin("•"))
		w.SetX(pdfMargin + 5)
		w.MultiCell(pdfWidth-5, pdfLine, latin(item), "", "L", false)
		w.Ln(0.8)
	}
	w.plots(b.Plots)
}

func (w printed) paragraph(s, style string, colour ink) {
	w.font(style, pdfFont, colour)
	w.MultiCell(pdfWidth, pdfLine, latin(s), "", "L", false)
	w.Ln(paragraphGap)
}

func (w printed) font(style string, size float64, colour ink) {
	w.SetFont("Helvetica", style, size)
	w.SetTextColor(rgb(colour))
}

// room begins a page where less than height is left.
func (w printed) room(height float64) {
	if w.GetY()+height > pdfBottom {
		w.AddPage()
	}
}

// columns are how far two columns of plots reach.
type columns [2]float64

// plotHeight is the height of a plot with its title and the gap below.
func plotHeight(p plot) float64 { return p.Height*pdfPlot/plotWidth + pdfTitle + 3 }

// place puts a plot into the column with more room, and tells which and where.
func (c *columns) place(p plot) (column int, top float64) {
	if c[1] < c[0] {
		column = 1
	}
	top = c[column]
	c[column] += plotHeight(p)
	return column, top
}

func (c *columns) bottom() float64 { return max(c[0], c[1]) }

// plots draws plots in two columns.
func (w printed) plots(plots []plot) {
	if len(plots) == 0 {
		return
	}
	at := columns{w.GetY(), w.GetY()}
	for _, p := range plots {
		if top := min(at[0], at[1]); top+plotHeight(p) > pdfBottom && top > pdfMargin {
			w.AddPage()
			at = columns{w.GetY(), w.GetY()}
		}
		column, top := at.place(p)
		x := pdfMargin + float64(column)*(pdfPlot+pdfGap)
		w.font("B", 9.5, inkText)
		w.Text(x, top+4, latin(p.Title))
		p.draw(pressed{w, x, top + pdfTitle, pdfPlot / plotWidth})
	}
	w.SetXY(pdfMargin, at.bottom())
}

// table writes a table; its head is repeated on each page.
func (w printed) table(t grid) {
	w.room(5 * pdfCell)
	w.font("B", 9.5, inkText)
	w.MultiCell(pdfWidth, pdfLine, latin(t.Caption), "", "L", false)
	w.SetCellMargin(pdfCellPad)
	defer w.SetCellMargin(0)
	widths := w.columnWidths(t)
	head := func() {
		w.font("B", 8.5, inkMuted)
		w.row(t.Head, widths, t.Numbers)
	}
	head()
	for _, row := range t.Rows {
		w.font("", 8.5, inkText)
		if w.GetY()+w.rowHeight(row, widths) > pdfBottom {
			w.AddPage()
			head()
			w.font("", 8.5, inkText)
		}
		w.row(row, widths, t.Numbers)
	}
	w.Ln(4)
}

// columnWidths gives each column what its longest word needs, and shares the rest by the
// length of its longest cell.
func (w printed) columnWidths(t grid) []float64 {
	w.font("B", 8.5, inkText)
	least, most := make([]float64, len(t.Head)), make([]float64, len(t.Head))
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		for i, cell := range row {
			most[i] = max(most[i], min(w.GetStringWidth(latin(cell))+2*pdfCellPad+0.5, pdfWidth/2))
			for _, word := range strings.Fields(cell) {
				least[i] = max(least[i], w.GetStringWidth(latin(word))+2*pdfCellPad+0.5)
			}
			least[i] = min(least[i], most[i])
		}
	}
	var need, want float64
	for i := range least {
		need, want = need+least[i], want+most[i]
	}
	part := 1.0
	switch {
	case want <= pdfWidth:
	case want <= need: // each cell is one word, so there is nothing to share
		part = 0
	default:
		part = max(0, pdfWidth-need) / (want - need)
	}
	widths := make([]float64, len(least))
	for i := range least {
		widths[i] = least[i] + (most[i]-least[i])*part
		if need > pdfWidth {
			widths[i] *= pdfWidth / need
		}
	}
	return widths
}

func (w printed) rowHeight(cells []string, widths []float64) float64 {
	lines := 1
	for i, c := range cells {
		lines = max(lines, len(w.cellLines(c, widths[i])))
	}
	return float64(lines)*pdfCell + 1.6
}

// cellLines are the lines of a cell. Those that no page has room for are left out.
func (w printed) cellLines(text string, width float64) [][]byte {
	const most = 35
	lines := w.SplitLines([]byte(latin(text)), width)
	if len(lines) > most {
		lines = append(lines[:most-1:most-1], []byte(latin("…")))
	}
	return lines
}

func (w printed) row(cells []string, widths []float64, numbers int) {
	// The text of the first column begins at the margin.
	height, y, x := w.rowHeight(cells, widths), w.GetY(), pdfMargin-pdfCellPad
	for i, c := range cells {
		align := "L"
		if i >= numbers {
			align = "R"
		}
		for n, text := range w.cellLines(c, widths[i]) {
			w.SetXY(x, y+0.8+float64(n)*pdfCell)
			w.CellFormat(widths[i], pdfCell, string(text), "", 0, align, false, 0, "")
		}
		x += widths[i]
	}
	w.SetDrawColor(rgb(inkGrid))
	w.SetLineWidth(0.2)
	w.Line(pdfMargin, y+height, x, y+height)
	w.SetXY(pdfMargin, y+height)
}

// latin writes s in Windows-1252; a letter that it lacks becomes a question mark.
func latin(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		c, ok := charmap.Windows1252.EncodeRune(r)
		if !ok || r < ' ' && r != '\n' {
			c = '?'
		}
		b = append(b, c)
	}
	return string(b)
}

// pressed is the surface of a plot in a PDF.
type pressed struct {
	w           printed
	left, top   float64
	millimetres float64
}

func (s pressed) Box(x, y, width, height float64, fill ink) {
	s.w.SetFillColor(rgb(fill))
	s.w.Rect(s.x(x), s.y(y), width*s.millimetres, height*s.millimetres, "F")
}

func (s pressed) Line(spots []spot, stroke ink, width float64, dashed bool) {
	s.w.SetDrawColor(rgb(stroke))
	s.w.SetLineWidth(width * s.millimetres)
	if dashed {
		s.w.SetDashPattern([]float64{5 * s.millimetres, 4 * s.millimetres}, 0)
		defer s.w.SetDashPattern(nil, 0)
	}
	for i, p := range spots {
		if i == 0 {
			s.w.MoveTo(s.x(p.X), s.y(p.Y))
			continue
		}
		s.w.LineTo(s.x(p.X), s.y(p.Y))
	}
	s.w.DrawPath("D")
}

func (s pressed) Text(text string, x, y, size float64, fill ink) {
	s.sized(size)
	s.w.SetTextColor(rgb(fill))
	s.w.Text(s.x(x), s.y(y), latin(text))
}

func (s pressed) TextWidth(text string, size float64) float64 {
	s.sized(size)
	return s.w.GetStringWidth(latin(text)) / s.millimetres
}

func (s pressed) sized(size float64) { s.w.SetFont("Helvetica", "", size*s.millimetres*72/25.4) }

func (s pressed) x(v float64) float64 { return s.left + v*s.millimetres }

func (s pressed) y(v float64) float64 { return s.top + v*s.millimetres }

// rgb are the colours on paper.
func rgb(i ink) (red, green, blue int) {
	all := [...][3]int{
		{23, 32, 44},
		{82, 96, 113},
		{211, 218, 227},
		{245, 247, 250},
		{47, 111, 183},
		{194, 87, 26},
		{43, 138, 87},
		{138, 75, 176},
		{179, 51, 63},
		{107, 111, 26},
	}
	c := all[i]
	return c[0], c[1], c[2]
}
