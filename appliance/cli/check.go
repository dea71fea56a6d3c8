package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/google/uuid"

	"pgapp/appliance"
)

// checkFiles looks at the files that the spec names before a daemon is
// started for it: both run on this machine. The daemon checks them again. Streams
// are not files yet.
func checkFiles(s appliance.Spec, streams map[string]sqlStream) error {
	var wrong []appliance.FieldError
	for i, path := range s.SQL {
		if _, ok := streams[path]; ok {
			continue
		}
		if _, err := appliance.CheckSQLFile(path); err != nil {
			wrong = append(wrong, appliance.FieldError{Field: fmt.Sprintf("sql[%d]", i), Message: err.Error()})
		}
	}
	if s.PostgresBin != "" {
		st, err := os.Stat(filepath.Join(s.PostgresBin, "postgres"))
		if err == nil && (!st.Mode().IsRegular() || st.Mode()&0o111 == 0) {
			err = fmt.Errorf("%s/postgres is not an executable file", s.PostgresBin)
		}
		if err != nil {
			wrong = append(wrong, appliance.FieldError{Field: "postgres_bin", Message: "holds no PostgreSQL: " + err.Error()})
		}
	}
	if filepath.IsAbs(s.Image) {
		if err := readableFile(s.Image); err != nil {
			wrong = append(wrong, appliance.FieldError{Field: "image", Message: err.Error()})
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return &appliance.Problem{
		ID: appliance.ErrInvalidSpec, Message: "a file of the cluster's spec can't be used", Fields: wrong,
		Hint: "name existing files that you can read",
	}
}

func readableFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err == nil && st.IsDir() {
		return fmt.Errorf("%s is a directory", path)
	}
	return err
}

// decodeSpec reads a spec that is the only document of its file. Numbers have to
// be whole: the decoder would cut off decimals.
func decodeSpec(b []byte) (appliance.Spec, error) {
	var spec appliance.Spec
	d := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict())
	if err := d.Decode(&spec); err != nil && !errors.Is(err, io.EOF) {
		return spec, err
	}
	if err := d.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return spec, errors.New("it holds more than one document")
	}
	var raw map[string]any
	if err := yaml.Unmarshal(b, &raw); err != nil {
		return spec, err
	}
	for _, field := range []string{"standbys", "vcpus", "memory_mib", "disk_gib", "ro_lag_mib"} {
		switch v := raw[field].(type) {
		case nil, int64, uint64, int:
		default:
			return spec, fmt.Errorf("%s has to be a whole number, not %.40q", field, fmt.Sprint(v))
		}
	}
	return spec, nil
}

// oneOf refuses a flag's value that isn't among those allowed.
func oneOf(flag, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	last := len(allowed) - 1
	return appliance.NewProblem(appliance.ErrUsage, "--%s has to be %s or %s, not %q", flag, strings.Join(allowed[:last], ", "), allowed[last], value)
}

// checkOperationID refuses what can't be an operation's id.
func checkOperationID(id string) error {
	if u, err := uuid.Parse(id); err != nil || u.String() != id {
		return appliance.NewProblem(appliance.ErrUsage, "%q is not the id of an operation", id).WithHint("pgapp ops lists them")
	}
	return nil
}

// checkRequest refuses what can't be a request's method and path.
func checkRequest(method, path string) error {
	methods := []string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	if !slices.Contains(methods, strings.ToUpper(method)) {
		return appliance.NewProblem(appliance.ErrUsage, "%q is not an HTTP method", method).WithHint("one of %s", strings.Join(methods, ", "))
	}
	if _, err := url.ParseRequestURI(path); err != nil {
		return appliance.NewProblem(appliance.ErrUsage, "%q is not a path", path)
	}
	return nil
}
