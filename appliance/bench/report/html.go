package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
)

//go:embed report.html.tmpl
var htmlText string

// writeHTML writes p as one file that loads nothing: styles and plots are in it, and a
// policy forbids the rest.
func writeHTML(to io.Writer, p page) error {
	plots, tables := 0, 0
	t, err := template.New("report").Funcs(template.FuncMap{
		"svg": func(p plot) (template.HTML, error) {
			plots++
			return svgOf(p, fmt.Sprintf("plot-%d", plots))
		},
		"id": func() string {
			tables++
			return fmt.Sprintf("table-%d", tables)
		},
		"number": func(t *grid, column int) bool { return column >= t.Numbers },
	}).Parse(htmlText)
	if err != nil {
		return fmt.Errorf("reading the report's template: %w", err)
	}
	if err := t.Execute(to, p); err != nil {
		return fmt.Errorf("writing the report's page: %w", err)
	}
	return nil
}
