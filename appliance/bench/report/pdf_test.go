package report

import (
	"bytes"
	"compress/zlib"
	"io"
	"regexp"
	"strings"
	"testing"
)

// printedText is the text of a PDF, read from its streams of drawing commands.
func printedText(t *testing.T, pdf []byte) string {
	t.Helper()
	var text strings.Builder
	for _, m := range regexp.MustCompile(`(?s)stream\r?\n(.*?)endstream`).FindAllSubmatch(pdf, -1) {
		r, err := zlib.NewReader(bytes.NewReader(m[1]))
		if err != nil {
			continue // a stream that isn't compressed is none of text
		}
		commands, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range regexp.MustCompile(`\((.*?[^\\])\) ?Tj`).FindAllSubmatch(commands, -1) {
			text.Write(w[1])
			text.WriteByte('\n')
		}
	}
	return text.String()
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

func TestLatinKeepsWhatTheFontHas(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{"a·b": "a\xb7b", "“x”…": "\x93x\x94\x85", "東": "?", "\x1b[1m": "?[1m", "a\xffb": "a?b", "one\ntwo": "one\ntwo"} {
		if got := latin(s); got != want {
			t.Errorf("latin(%q) = %q, want %q", s, got, want)
		}
	}
}
