package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgapp/appliance"
)

const hostile = `</title></svg><script>alert(1)</script>"'&<img src=x onerror=alert(1)>`

func htmlOf(t *testing.T, b appliance.Bench) string {
	t.Helper()
	var out strings.Builder
	if err := writeHTML(&out, pageOf(b)); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// elements checks that the page is well-formed and calls see with each element.
func elements(t *testing.T, html string, see func(path []string, e xml.StartElement)) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(regexp.MustCompile(`<meta [^>]*>`).ReplaceAllString(html, ""))) // meta has no end
	d.Entity = xml.HTMLEntity
	var path []string
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			path = append(path, e.Name.Local)
			see(path, e)
		case xml.EndElement:
			path = path[:len(path)-1]
		}
	}
}

func TestPageIsWholeAndLoadsNothing(t *testing.T) {
	t.Parallel()
	b := madeBench(7)
	b.Cluster, b.Command = hostile, hostile
	b.Setting.Members[1].Name, b.Setting.Members[1].Address = hostile, hostile
	b.Experiments[0].Title, b.Experiments[0].Variants[1].Name = hostile, hostile
	for i := range b.Points {
		if b.Points[i].Variant == "1 standby" {
			b.Points[i].Variant = hostile
		}
	}
	html := htmlOf(t, b)
	ids := map[string]bool{}
	var levels []string
	var references []string
	elements(t, html, func(path []string, e xml.StartElement) {
		if slices.Contains([]string{"script", "img", "link", "iframe", "object", "embed", "image", "use", "foreignObject", "form"}, e.Name.Local) {
			t.Errorf("the page has the element %s", strings.Join(path, "/"))
		}
		if regexp.MustCompile(`^h[1-6]$`).MatchString(e.Name.Local) {
			levels = append(levels, e.Name.Local)
		}
		for _, a := range e.Attr {
			switch {
			case strings.HasPrefix(strings.ToLower(a.Name.Local), "on"), a.Name.Local == "src":
				t.Errorf("%s has the attribute %s", strings.Join(path, "/"), a.Name.Local)
			case a.Name.Local == "href" && !strings.HasPrefix(a.Value, "#"):
				t.Errorf("the page refers to %q", a.Value)
			case a.Name.Local == "id" && ids[a.Value]:
				t.Errorf("two elements have the id %q", a.Value)
			case a.Name.Local == "id":
				ids[a.Value] = true
			case a.Name.Local == "aria-labelledby":
				references = append(references, strings.Fields(a.Value)...)
			}
		}
	})
	for _, r := range references {
		if !ids[r] {
			t.Errorf("no element has the id %q, which a label names", r)
		}
	}
	if len(levels) < 10 || levels[0] != "h1" || strings.Count(strings.Join(levels, " "), "h1") != 1 {
		t.Errorf("headings are %v", levels)
	}
	if found := regexp.MustCompile(`(?i)url\(|@import|https?:|rgb\(1,2,`).FindString(html); found != "" {
		t.Errorf("the page holds %q", found)
	}
	if !strings.Contains(html, `content="default-src 'none'; style-src 'unsafe-inline'"`) {
		t.Error("the page has no policy that forbids to load")
	}
}

func TestEachExperimentHasPlotTableAndSentence(t *testing.T) {
	t.Parallel()
	b := madeBench(7)
	html := htmlOf(t, b)
	for i, e := range b.Experiments {
		_, part, ok := strings.Cut(html, `<section aria-labelledby="experiment-`+string(rune('1'+i)))
		part, _, _ = strings.Cut(part, "</section>")
		if !ok || strings.Count(part, "<svg") < 3 || strings.Count(part, "<table") < 4 || strings.Count(part, `class="finding"`) != 1 {
			t.Errorf("the section of %s has %d plots, %d tables, %d sentences", e.Name, strings.Count(part, "<svg"), strings.Count(part, "<table"), strings.Count(part, `class="finding"`))
		}
		if strings.Count(part, "<svg") != strings.Count(part, `role="img"`) || strings.Count(part, "<svg") != strings.Count(part, "<desc") {
			t.Errorf("a plot of %s has no description", e.Name)
		}
	}
	for _, want := range []string{`id="durability"`, `id="outage"`, `id="limits"`, `id="repeat"`, "shared_buffers", b.Command} {
		if !strings.Contains(html, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// stroked is a surface that remembers boxes, texts and the points of its longest line.
type stroked struct {
	longest int
	boxes   []spot
	texts   []string
}

func (s *stroked) Box(x, _, width, _ float64, fill ink) {
	if fill >= inkSeries {
		s.boxes = append(s.boxes, spot{x, x + width})
	}
}

func (s *stroked) Line(spots []spot, _ ink, _ float64, _ bool) {
	s.longest = max(s.longest, len(spots))
}

func (s *stroked) Text(text string, _, _, _ float64, _ ink) {
	s.texts = append(s.texts, text)
}
func (s *stroked) TextWidth(text string, size float64) float64 { return float64(len(text)) * size / 2 }

func TestBarsBeginAtZeroAndKeepProportion(t *testing.T) {
	t.Parallel()
	m := throughputOf(appliance.BenchExperiment{})
	s := &stroked{}
	barsOf("", m, []measured{{"a", spreadOf([]float64{990, 1000, 1010})}, {"b", spreadOf([]float64{1000, 1010, 1020})}, {"none", spread{}}}).draw(s)
	if len(s.boxes) != 2 || s.boxes[0].X != s.boxes[1].X {
		t.Fatalf("bars are %v", s.boxes)
	}
	if got := (s.boxes[0].Y - s.boxes[0].X) / (s.boxes[1].Y - s.boxes[1].X); got < 0.98 || got > 1 {
		t.Errorf("bars of 1000 and 1010 are as %.3f to 1", got)
	}
	if s.texts[0] != "0" || !strings.Contains(strings.Join(s.texts, "|"), "answered requests a second") || !strings.Contains(strings.Join(s.texts, "|"), "not measured") {
		t.Errorf("texts are %q", s.texts)
	}
}

// TestSeriesLeaveOutWhatEndedAfterAPoint holds for the second that a load adds for requests
// that end after its time.
func TestSeriesLeaveOutWhatEndedAfterAPoint(t *testing.T) {
	t.Parallel()
	p := pointsOf("one", 100)
	p[0].Result.Seconds = 3.02
	for at, n := range []int64{100, 110, 90, 1} {
		p[0].Result.Series = append(p[0].Result.Series, appliance.BenchSecond{At: at, Reads: n})
	}
	b, e := twoVariants("throughput", 100, p)
	plots := seriesPlots(b, e, measureOf(e))
	if len(plots) != 1 {
		t.Fatalf("%d plots", len(plots))
	}
	s := &stroked{}
	plots[0].draw(s)
	if want := 3; s.longest != want {
		t.Errorf("the line has %d points, want %d", s.longest, want)
	}
}

// TestFiguresOfAStrangersRecord holds for a report.json that somebody made up: whatever its
// figures are, the report has an end and its axes have few steps.
func TestFiguresOfAStrangersRecord(t *testing.T) {
	t.Parallel()
	for _, v := range []float64{math.MaxFloat64, 1e300, math.SmallestNonzeroFloat64, -5, 0} {
		if n := len(scaleTo(v).ticks()); n < 2 || n > 12 {
			t.Fatalf("a scale to %v has %d steps", v, n)
		}
		b := madeBench(7)
		for i := range b.Points {
			p := &b.Points[i]
			for kind, l := range p.Result.Kinds {
				l.P50, l.P99, l.P999 = v, v, v
				p.Result.Kinds[kind] = l
			}
			p.Result.PerSecond = v
			if p.Event != nil {
				p.Event.At, p.Event.WritesMillis = v, v
			}
		}
		if _, err := filesOf(b); err != nil {
			t.Errorf("figures of %v: %v", v, err)
		}
	}
}

func TestSamplesHoldNoFormula(t *testing.T) {
	t.Parallel()
	b := madeBench(7)
	p := &b.Points[0]
	p.Experiment, p.Variant = "=1+1", "@SUM(A1)"
	p.Result.Kinds["-2+3"] = appliance.BenchLatency{}
	p.Result.Series[0].LagBytes = map[string]int64{"+cmd|' /C calc'!A0": -7}
	var out bytes.Buffer
	if err := writeSamples(&out, b); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		for i, cell := range row {
			if number := strings.HasSuffix(rows[0][i], "_bytes"); cell != "" && strings.ContainsRune("=+-@", rune(cell[0])) && !number {
				t.Errorf("the cell %q is a formula", cell)
			}
		}
	}
	if row := rows[2]; row[0] != "'=1+1" || row[len(row)-1] != "-7" {
		t.Errorf("the row of the lag is %q", row)
	}
}

func TestSamplesHaveARowForEachSecondAndKind(t *testing.T) {
	t.Parallel()
	b := madeBench(7)
	b.Points[0].Variant = "a \"quoted\", name\nof two lines"
	var out bytes.Buffer
	if err := writeSamples(&out, b); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll() // fails where a row has another length
	if err != nil {
		t.Fatal(err)
	}
	want := 1
	for _, p := range b.Points {
		want += len(p.Result.Series) + len(p.Result.Kinds)
		for _, s := range p.Result.Series {
			want += len(s.LagBytes)
		}
	}
	if len(rows) != want || strings.Join(rows[0][:8], ",") != "experiment,variant,round,partial,driver_late,row,second,kind" || rows[1][1] != b.Points[0].Variant {
		t.Errorf("%d rows of %d; begin with %q", len(rows), want, rows[:2])
	}
}

func TestWriteMakesAReportAndRefusesOtherDirectories(t *testing.T) {
	t.Parallel()
	b := madeBench(7)
	dir := filepath.Join(t.TempDir(), "made", "report")
	for range 2 { // the second replaces the first
		paths, err := Write(dir, b)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			if s, err := os.Stat(p); err != nil || s.Mode().Perm() != 0o644 || s.Size() == 0 {
				t.Fatalf("%s: %v, %v", p, s, err)
			}
		}
	}
	if entries, _ := os.ReadDir(filepath.Dir(dir)); len(entries) != 1 {
		t.Errorf("beside the report is %v", entries)
	}
	data, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		t.Fatal(err)
	}
	var again appliance.Bench
	if err := json.Unmarshal(data, &again); err != nil || !reflect.DeepEqual(again, b) {
		t.Errorf("the record differs, %v", err)
	}
	empty, full := t.TempDir(), t.TempDir()
	if _, err := Write(empty, b); err != nil {
		t.Errorf("an empty directory is refused: %v", err)
	}
	if err := os.WriteFile(filepath.Join(full, "letter.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(full, b); err == nil || !strings.Contains(err.Error(), "letter.txt") {
		t.Errorf("a directory with other files: %v", err)
	}
	if entries, _ := os.ReadDir(full); len(entries) != 1 {
		t.Errorf("the refused directory holds %v", entries)
	}
}

// TestReportOfAnEmptyBench holds for a bench that was interrupted before its first point.
func TestReportOfAnEmptyBench(t *testing.T) {
	t.Parallel()
	for _, b := range []appliance.Bench{{ID: "x"}, {ID: "x", Kind: appliance.BenchRun, Experiments: madeBench(1).Experiments}} {
		if _, err := Write(filepath.Join(t.TempDir(), "r"), b); err != nil {
			t.Error(err)
		}
		if html := htmlOf(t, b); strings.Contains(html, "NaN") || strings.Contains(html, "Inf") {
			t.Error("the page holds a number that is none")
		}
	}
}
