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
	return !a.noColor && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && terminal(a.Err)
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
