package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"pgapp/appliance"
)

// print writes v as JSON or YAML, or calls asTable.
func (a *app) print(v any, asTable func() error) error {
	switch a.output {
	case "json":
		e := json.NewEncoder(a.Out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(v)
	case "yaml":
		b, err := yaml.MarshalWithOptions(v, yaml.UseJSONMarshaler())
		if err != nil {
			return fmt.Errorf("writing YAML: %w", err)
		}
		_, err = a.Out.Write(b)
		return err
	}
	return asTable()
}

// newTable makes a table in the plain style of psql's and docker's lists.
func (a *app) newTable(header ...any) table.Writer {
	t := table.NewWriter()
	s := table.StyleDefault
	s.Options = table.OptionsNoBordersAndSeparators
	s.Box.PaddingLeft, s.Box.PaddingRight = "", "   "
	s.Format.Header = text.FormatUpper
	t.SetStyle(s)
	t.AppendHeader(table.Row(header))
	return t
}

// renderTable writes the table.
func (a *app) renderTable(t table.Writer) error {
	t.SuppressTrailingSpaces()
	_, err := fmt.Fprintln(a.Out, t.Render())
	return err
}

// note writes one line of progress to standard error.
func (a *app) note(format string, args ...any) {
	if !a.quiet {
		_, _ = fmt.Fprintf(a.Err, format+"\n", args...) // nobody is left to tell
	}
}

// terminal tells whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func terminalReader(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colours tells whether standard error may have them.
func (a *app) colours() bool {
	kind := os.Getenv("TERM")
	return !a.noColor && os.Getenv("NO_COLOR") == "" && kind != "" && kind != "dumb" && terminal(a.Err)
}

// width is how many columns w's terminal has; 80 where it doesn't say.
func width(w io.Writer) int {
	const usual = 80
	f, ok := w.(*os.File)
	if !ok {
		return usual
	}
	if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
		return columns
	}
	return usual
}

// fit cuts a line to so many columns.
func fit(line string, columns int) string {
	if text.StringWidthWithoutEscSequences(line) <= columns {
		return line
	}
	var b strings.Builder
	used := 1 // for the ellipsis
	for _, r := range line {
		if used += text.RuneWidth(r); used > columns {
			break
		}
		b.WriteRune(r)
	}
	if columns < 1 {
		return ""
	}
	return b.String() + "…"
}

// program is how the user called this one: by its name, or by a path.
func (a *app) program() string {
	if name := os.Args[0]; strings.ContainsRune(name, os.PathSeparator) {
		return shellWord(name)
	}
	return "pgapp"
}

// shellWord quotes what a shell would not take as it is.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%,", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return shellQuote(s)
}

func (a *app) paint(code, s string) string {
	if !a.colours() {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// printProblem says what failed, why, and what to do next. With -o json it is
// an object on standard error.
func (a *app) printProblem(p *appliance.Problem) {
	if a.output == "json" {
		b, err := json.Marshal(map[string]*appliance.Problem{"error": p})
		if err == nil {
			_, _ = fmt.Fprintf(a.Err, "%s\n", b)
			return
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", a.paint("31", "error["+string(p.ID)+"]:"), clean(p.Message))
	for _, f := range p.Fields {
		fmt.Fprintf(&b, "  %s %s\n", clean(f.Field), clean(f.Message))
	}
	for _, l := range strings.Split(p.Detail, "\n") {
		if l != "" {
			fmt.Fprintf(&b, "  %s\n", clean(l))
		}
	}
	if p.Hint != "" {
		fmt.Fprintf(&b, "  → %s\n", clean(p.Hint))
	}
	_, _ = io.WriteString(a.Err, b.String())
}

// clean keeps control characters of foreign text away from the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
