package report

import (
	"bytes"
	"compress/zlib"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// printedText is the text of a PDF.
func printedText(t *testing.T, pdf []byte) string {
	t.Helper()
	return strings.Join(printedPages(t, pdf), "")
}

// streamsOf are the streams of drawing commands of a PDF's pages.
func streamsOf(t *testing.T, pdf []byte) []string {
	t.Helper()
	var streams []string
	for _, m := range regexp.MustCompile(`(?s)stream\r?\n(.*?)endstream`).FindAllSubmatch(pdf, -1) {
		r, err := zlib.NewReader(bytes.NewReader(m[1]))
		if err != nil {
			continue // a stream that isn't compressed is none of text
		}
		commands, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, string(commands))
	}
	return streams
}

// printedPages are the texts of a PDF's pages.
func printedPages(t *testing.T, pdf []byte) []string {
	t.Helper()
	var pages []string
	for _, commands := range streamsOf(t, pdf) {
		var text strings.Builder
		for _, w := range regexp.MustCompile(`\((.*?[^\\])\) ?Tj`).FindAllStringSubmatch(commands, -1) {
			text.WriteString(w[1])
			text.WriteByte('\n')
		}
		pages = append(pages, text.String())
	}
	return pages
}

// TestPDFKeepsAnExperimentTogether holds for its heading, sentence and plots.
func TestPDFKeepsAnExperimentTogether(t *testing.T) {
	t.Parallel()
	b := madeBench(7)
	var out bytes.Buffer
	if err := writePDF(&out, pageOf(b)); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range printedPages(t, out.Bytes()) {
		heading := strings.Index(page, "\nExperiment ")
		if heading < 0 && !strings.HasPrefix(page, "Experiment ") {
			continue
		}
		found++
		for _, title := range []string{", by variant\n", ", by percentile\n", "by the second"} {
			if !strings.Contains(page[max(heading, 0):], title) {
				t.Errorf("page with %.60q: the plot %q is on another page", page[max(heading, 0):], title)
			}
		}
		if strings.Count(page, "Experiment ") > 1 {
			t.Errorf("the test knows one experiment a page:\n%s", page)
		}
	}
	if found != len(b.Experiments) {
		t.Errorf("%d pages begin an experiment, want %d", found, len(b.Experiments))
	}
}

func TestPDFHasTheTextOfThePage(t *testing.T) {
	t.Parallel()
	b := madeBench(7)
	b.Setting.CPU, b.Setting.Kernel = "Prüfgerät “5” – 東京", "\x00\x07"
	var out bytes.Buffer
	if err := writePDF(&out, pageOf(b)); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(out.Bytes(), []byte("%PDF-1.")) || !bytes.HasSuffix(bytes.TrimSpace(out.Bytes()), []byte("%%EOF")) {
		t.Fatalf("no PDF: %.20q", out.Bytes())
	}
	text := printedText(t, out.Bytes())
	for _, want := range []string{
		"The question", "Experiment 6: What does reading one's own writes cost?", "What durability costs", "Outage", "Limits", "How to repeat it",
		"pg-4 \xb7 standby", "shared_buffers", "Pr\xfcfger\xe4t \x935\x94 \x96 ??", "milliseconds, logarithmic", "kill-primary", b.Command,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the PDF lacks %q", want)
		}
	}
}

// TestPDFOfLongCells holds for cells that are one word, and for one that no page has room for.
func TestPDFOfLongCells(t *testing.T) {
	t.Parallel()
	b := madeBench(7)
	for i := range b.Setting.Members {
		m := &b.Setting.Members[i]
		m.Name, m.Address, m.Upstream = strings.Repeat("member", 12)+strconv.Itoa(i), strings.Repeat("2001:db8:", 9), strings.Repeat("member", 12)
	}
	b.Setting.Settings["long"] = strings.Repeat("value ", 20_000)
	var out bytes.Buffer
	if err := writePDF(&out, pageOf(b)); err != nil {
		t.Fatal(err)
	}
	pages := printedPages(t, out.Bytes())
	if strings.Contains(strings.Join(streamsOf(t, out.Bytes()), ""), "NaN") || len(pages) > 40 {
		t.Errorf("%d pages, or a place on a page that is no number", len(pages))
	}
	if text := strings.Join(pages, ""); !strings.Contains(text, "wal_level") || !strings.Contains(text, "\x85") {
		t.Error("what follows a long cell is not there")
	}
}

func TestLatinKeepsWhatTheFontHas(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{"a·b": "a\xb7b", "“x”…": "\x93x\x94\x85", "東": "?", "\x1b[1m": "?[1m", "a\xffb": "a?b", "one\ntwo": "one\ntwo"} {
		if got := latin(s); got != want {
			t.Errorf("latin(%q) = %q, want %q", s, got, want)
		}
	}
}
