// Package ui holds the pages of the movie-rental site that `pgapp demo` serves: templates
// of html/template, one style sheet and one icon. Pages need no script and nothing from
// elsewhere.
package ui

import "embed"

// FS holds the files at its root.
//
//go:embed *.html style.css icon.svg
var FS embed.FS
