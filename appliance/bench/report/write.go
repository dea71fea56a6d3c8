package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"pgapp/appliance"
	"pgapp/appliance/durable"
)

// The files of a report.
const (
	htmlFile    = "report.html"
	pdfFile     = "report.pdf"
	recordFile  = "report.json"
	samplesFile = "samples.csv"
)

// file is a file of a report.
type file struct {
	name string
	data []byte
}

// Write writes the report of a bench to a directory, which it makes, and returns the
// paths of the files. A report that is there is replaced, file by file; any other
// directory with files in it is refused. A repeat is safe, also after a kill: a new
// directory is there whole or not at all.
func Write(dir string, b appliance.Bench) ([]string, error) {
	files, err := filesOf(b)
	if err != nil {
		return nil, fmt.Errorf("making the report of bench %q: %w", b.ID, err)
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("finding directory %q: %w", dir, err)
	}
	there, err := reportIn(dir)
	if err != nil {
		return nil, err
	}
	if err := place(dir, files, there); err != nil {
		return nil, fmt.Errorf("writing the report to %q: %w", dir, err)
	}
	paths := make([]string, len(files))
	for i, f := range files {
		paths[i] = filepath.Join(dir, f.name)
	}
	return paths, nil
}

// Format is one of the forms of a report.
type Format string

// The formats.
const (
	HTML Format = "html"
	PDF  Format = "pdf"
	JSON Format = "json"
	CSV  Format = "csv"
)

// Document returns the report of a bench in one of its formats.
func Document(b appliance.Bench, f Format) ([]byte, error) {
	name, ok := map[Format]string{HTML: htmlFile, PDF: pdfFile, JSON: recordFile, CSV: samplesFile}[f]
	if !ok {
		return nil, appliance.NewProblem(appliance.ErrUsage, "there is no report in format %q", f).WithHint("the formats are html, pdf, json and csv")
	}
	files, err := filesOf(b)
	i := slices.IndexFunc(files, func(of file) bool { return of.name == name })
	if err != nil || i < 0 {
		return nil, fmt.Errorf("making the report of bench %q: %w", b.ID, err)
	}
	return files[i].data, nil
}

func filesOf(b appliance.Bench) ([]file, error) {
	p := pageOf(b)
	record, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return nil, err
	}
	var html, pdf, samples bytes.Buffer
	if err := errors.Join(writeHTML(&html, p), writePDF(&pdf, p), writeSamples(&samples, b)); err != nil {
		return nil, err
	}
	return []file{{htmlFile, html.Bytes()}, {pdfFile, pdf.Bytes()}, {recordFile, append(record, '\n')}, {samplesFile, samples.Bytes()}}, nil
}

// reportIn tells whether dir holds a report. A directory with other files is an error.
func reportIn(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, appliance.NewProblem(appliance.ErrConflict, "reading directory %q: %w", dir, err).WithHint("--out takes a directory")
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !slices.Contains([]string{htmlFile, pdfFile, recordFile, samplesFile}, e.Name()) {
			return false, appliance.NewProblem(appliance.ErrConflict, "directory %q holds %q, which is no report's", dir, e.Name()).
				WithHint("--out takes a new directory, or one of a report")
		}
	}
	return len(entries) > 0, nil
}

// place writes the files beside dir and moves them there.
func place(dir string, files []file, there bool) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	unfinished := filepath.Join(parent, "."+filepath.Base(dir)+".unfinished")
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	if err := os.Mkdir(unfinished, 0o755); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(unfinished) }() // a later report to the same place removes it
	for _, f := range files {
		if err := writeFile(filepath.Join(unfinished, f.name), f.data); err != nil {
			return err
		}
	}
	if err := durable.SyncDir(unfinished); err != nil {
		return err
	}
	if !there {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Rename(unfinished, dir); err != nil {
			return err
		}
		return durable.SyncDir(parent)
	}
	for _, f := range files {
		if err := os.Rename(filepath.Join(unfinished, f.name), filepath.Join(dir, f.name)); err != nil {
			return err
		}
	}
	return durable.SyncDir(dir)
}

// writeFile writes a file that all may read, whatever the umask is.
func writeFile(path string, data []byte) error {
	const readable = 0o644
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, readable)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Chmod(readable), f.Sync(), f.Close())
}
