package cli

import (
	"bufio"
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

// Streams are the process's standard streams.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// screen is where commands write output and ask questions, formatted as the flags
// say.
type screen struct {
	Streams
	format  string
	quiet   bool
	noColor bool
}

// print writes v as JSON or YAML, or calls asTable.
func (s *screen) print(v any, asTable func() error) error {
	switch s.format {
	case "json":
		e := json.NewEncoder(s.Out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(v)
	case "yaml":
		b, err := yaml.MarshalWithOptions(v, yaml.UseJSONMarshaler())
		if err != nil {
			return fmt.Errorf("writing YAML: %w", err)
		}
		_, err = s.Out.Write(b)
		return err
	}
	return asTable()
}

// newTable makes a table in the plain style of psql's and docker's lists.
func newTable(header ...any) table.Writer {
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
func (s *screen) renderTable(t table.Writer) error {
	t.SuppressTrailingSpaces()
	_, err := fmt.Fprintln(s.Out, t.Render())
	return err
}

// note writes one line of progress to standard error.
func (s *screen) note(format string, args ...any) {
	if !s.quiet {
		_, _ = fmt.Fprintf(s.Err, format+"\n", args...) // nobody is left to tell
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
func (s *screen) colours() bool {
	kind := os.Getenv("TERM")
	return !s.noColor && os.Getenv("NO_COLOR") == "" && kind != "" && kind != "dumb" && terminal(s.Err)
}

// width is the number of columns of w's terminal, or 80 if it is unknown.
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

// programName is the name or path by which the user called this program.
func programName() string {
	if name := os.Args[0]; strings.ContainsRune(name, os.PathSeparator) {
		return shellWord(name)
	}
	return "pgapp"
}

// shellWord quotes s if a shell would change it.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%,", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return shellQuote(s)
}

func (s *screen) paint(code, text string) string {
	if !s.colours() {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// printProblem says what failed, why, and what to do next. With -o json it is
// an object on standard error.
func (s *screen) printProblem(p *appliance.Problem) {
	if s.format == "json" {
		b, err := json.Marshal(map[string]*appliance.Problem{"error": p})
		if err == nil {
			_, _ = fmt.Fprintf(s.Err, "%s\n", b)
			return
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", s.paint("31", "error["+string(p.ID)+"]:"), clean(p.Message))
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
	_, _ = io.WriteString(s.Err, b.String())
}

// confirm asks on the terminal before data are removed. Without one, --yes is required.
func (s *screen) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if err := s.canAsk("this removes data"); err != nil {
		return err
	}
	return s.ask(question)
}

// canAsk refuses where there is no terminal to ask on.
func (s *screen) canAsk(what string) error {
	if terminalReader(s.In) {
		return nil
	}
	return appliance.NewProblem(appliance.ErrDeclined, "%s and there is no terminal to ask on", what).WithHint("add --yes to go ahead")
}

func (s *screen) ask(question string) error {
	_, _ = fmt.Fprintf(s.Err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(s.In).ReadString('\n')
	if err != nil {
		return appliance.NewProblem(appliance.ErrDeclined, "reading the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return appliance.NewProblem(appliance.ErrDeclined, "declined: nothing was changed")
}

// clean replaces control characters, which foreign text could send to the
// terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
