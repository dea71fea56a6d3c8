package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/home"
)

// stdinName means standard input, as in psql.
const stdinName = "-"

// sqlStream is SQL that only this process can read, and only once.
type sqlStream struct {
	// path is as the user gave it, absolute but for stdinName.
	path string
	// name is the daemon's file name for it, the same for a repeat of the command.
	name string
}

// takeStreams finds the spec's SQL that isn't a regular file, and replaces its
// path in the spec by the path under which the daemon will keep it.
func (a upCommands) takeStreams(spec *appliance.Spec) (map[string]sqlStream, error) {
	out := map[string]sqlStream{}
	stdin := 0
	for i, path := range spec.SQL {
		kind := streamKind(path)
		if kind == "" {
			continue
		}
		if kind == "stdin" {
			stdin++
		}
		if stdin > 1 {
			return nil, appliance.NewProblem(appliance.ErrUsage, "standard input can be loaded once only")
		}
		s := sqlStream{path: path, name: fmt.Sprintf("%d-%s", i+1, kind)}
		spec.SQL[i] = home.SQLPath(a.home, spec.WithDefaults().Name, s.name)
		out[spec.SQL[i]] = s
	}
	return out, nil
}

// streamKind is the kind of stream behind the path, "" for a file. A path such as
// /dev/fd/3 leads elsewhere in another process, and so is a stream even if it leads
// to a file here.
func streamKind(path string) string {
	switch path {
	case stdinName, "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0":
		return "stdin"
	}
	if strings.HasPrefix(path, "/dev/fd/") || strings.HasPrefix(path, "/proc/") {
		return "pipe"
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().IsRegular() || st.IsDir() {
		return ""
	}
	if st.Mode()&os.ModeNamedPipe != 0 {
		return "fifo"
	}
	return "device"
}

// sendStreams sends the streams to the daemon, in the order of the spec.
func (a upCommands) sendStreams(ctx context.Context, c *api.Client, spec appliance.Spec, streams map[string]sqlStream) error {
	for _, path := range spec.SQL {
		s, ok := streams[path]
		if !ok {
			continue
		}
		if err := a.sendStream(ctx, c, spec.WithDefaults().Name, s); err != nil {
			return err
		}
	}
	return nil
}

func (a upCommands) sendStream(ctx context.Context, c *api.Client, cluster string, s sqlStream) error {
	if s.path == stdinName && terminalReader(a.In) {
		a.note("reading SQL from the terminal; Ctrl-D ends it")
	}
	in, out := io.Pipe()
	// A read of a silent pipe can't be interrupted: after Ctrl-C this goroutine
	// ends with the process.
	go func() { out.CloseWithError(a.copyStream(out, s.path)) }()
	stop := context.AfterFunc(ctx, func() { in.CloseWithError(context.Cause(ctx)) })
	defer stop()
	defer func() { _ = in.Close() }()
	kept, err := c.SendSQL(ctx, cluster, s.name, in)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return appliance.NewProblem(appliance.ErrTimeout, "reading SQL from %s has not ended in time", s.path).WithHint("nothing was created or changed")
	case ctx.Err() != nil:
		return appliance.NewProblem(appliance.ErrInterrupted, "interrupted while reading SQL from %s", s.path).WithHint("nothing was created or changed")
	case err != nil:
		return fmt.Errorf("loading from %s: %w", s.path, err)
	case kept.Path != home.SQLPath(a.home, cluster, s.name):
		return appliance.NewProblem(appliance.ErrInternal, "the daemon keeps SQL in %s, not in %s", filepath.Dir(kept.Path), a.home)
	}
	return nil
}

func (a upCommands) copyStream(out io.Writer, path string) error {
	in := a.In
	if path != stdinName {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	_, err := io.Copy(out, in)
	return err
}
