// Package report writes what a bench measured for a reader: an HTML file that needs
// nothing else, a PDF of the same content, the record as report.json, and samples.csv.
// It also compares two benches.
//
// A page is built once, as blocks of text, tables and plots, and then written as HTML
// or PDF. Conclusions are sentences that rules make of the figures. Two variants differ
// where the spreads of at least three rounds each do not overlap; a ratio's range goes from the least
// that two rounds allow to the most, so it leaves out 1 in the same cases.
//
// Plots are drawn on a surface by strokes, boxes and text: as SVG by the painter of
// go-analyze/charts, in a PDF by fpdf. The ready-made charts of go-analyze/charts are not
// used: they have no whiskers for a spread, and fixed colours, which dark pages can't
// replace.
package report
