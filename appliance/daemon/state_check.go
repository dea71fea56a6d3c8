package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/program"
	"pgapp/store"
)

// checkTimeout bounds the check of a file: the check of a damaged file may never
// end.
const checkTimeout = time.Minute

// checkFile checks a database in a process of its own: a damaged database can crash
// the process or keep it busy for ever.
func checkFile(ctx context.Context, dir, path string) (api.StateReport, error) {
	self, err := program.Executable()
	if err != nil {
		return api.StateReport{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "state", program.CheckFileCommand, "--home", dir, "-o", "json", "--", path)
	cmd.Env = []string{"LC_ALL=C"}
	cmd.Dir = "/"
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	var exit *exec.ExitError
	var report api.StateReport
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return report, ctx.Err()
	case ctx.Err() != nil:
		return unsound("the check did not end in %s", checkTimeout), nil
	case errors.As(err, &exit):
		return unsound("%s", lastWords(errs.String(), exit)), nil
	case err != nil:
		return report, fmt.Errorf("checking the state: %w", err)
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		return report, fmt.Errorf("checking the state: reading the report: %w", err)
	}
	return report, nil
}

func unsound(format string, args ...any) api.StateReport {
	return api.StateReport{Findings: []string{fmt.Sprintf(format, args...)}}
}

// lastWords is the problem with which the check ended, or how it crashed.
func lastWords(stderr string, exit *exec.ExitError) string {
	var p struct {
		Error *appliance.Problem `json:"error"`
	}
	if json.Unmarshal([]byte(stderr), &p) == nil && p.Error != nil {
		return p.Error.Message
	}
	line, _, _ := strings.Cut(strings.TrimSpace(stderr), "\n")
	return fmt.Sprintf("the check crashed (%s): %.200s", exit, line)
}

// CheckStateFile checks a database that no process uses, in this process.
func CheckStateFile(ctx context.Context, path string) (api.StateReport, error) {
	r, err := store.Check(ctx, path)
	if err != nil {
		return api.StateReport{}, err
	}
	return api.StateReport{
		OK: len(r.Findings) == 0, Instance: r.Info.Instance, Schema: r.Info.Schema, Values: r.Values, Findings: r.Findings,
	}, nil
}
