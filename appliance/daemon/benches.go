package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/bench"
	"pgapp/appliance/bench/load"
	"pgapp/appliance/bench/report"
	"pgapp/appliance/home"
	"pgapp/appliance/program"
	"pgapp/appliance/wait"
)

// benches implements api.Benches. A bench is the command pgapp bench in a process of its
// own, which the end of the daemon doesn't end, and a record in the home.
type benches struct {
	// dir is the home.
	dir string
	st  runningClusters
}

func (b benches) records() bench.Records {
	return bench.Records{Dir: filepath.Join(b.dir, home.BenchesDir)}
}

// Benches implements api.Benches.
func (b benches) Benches(_ context.Context, cluster string) ([]appliance.Bench, error) {
	all, err := b.records().List()
	if err != nil && len(all) == 0 {
		return nil, err
	}
	out := []appliance.Bench{} // a record that can't be read doesn't hide the others
	for _, r := range all {
		if cluster == "" || r.Cluster == cluster {
			r.Points, r.Experiments = nil, nil
			out = append(out, r)
		}
	}
	return out, nil
}

// Bench implements api.Benches.
func (b benches) Bench(_ context.Context, id string) (appliance.Bench, error) {
	return b.records().Load(id)
}

// CancelBench implements api.Benches.
func (b benches) CancelBench(_ context.Context, id string) (appliance.Bench, error) {
	if err := b.records().Cancel(id); err != nil {
		return appliance.Bench{}, err
	}
	return b.records().Load(id)
}

// RemoveBench implements api.Benches.
func (b benches) RemoveBench(_ context.Context, id string) error { return b.records().Remove(id) }

// BenchReport implements api.Benches.
func (b benches) BenchReport(_ context.Context, id, format string) ([]byte, error) {
	r, err := b.records().Load(id)
	if err != nil {
		return nil, err
	}
	return report.Document(r, report.Format(format))
}

// StartBench implements api.Benches.
func (b benches) StartBench(ctx context.Context, cluster string, req appliance.BenchRequest) (appliance.Bench, error) {
	if _, err := b.st.Cluster(ctx, cluster); err != nil {
		return appliance.Bench{}, err
	}
	args, err := benchArgs(cluster, req)
	if err != nil {
		return appliance.Bench{}, err
	}
	id := bench.NewID(time.Now())
	worker, err := b.spawn(ctx, append(args, "--home", b.dir, "--output", "json", "--quiet", "--"+bench.IDFlag, id), req.Suite)
	if err != nil {
		return appliance.Bench{}, fmt.Errorf("starting the process of the bench: %w", err)
	}
	return worker.begun(ctx, b.records(), id)
}

// benchArgs are the arguments of the command that does what is asked for. Where a field is
// not valid, the command names it.
func benchArgs(cluster string, req appliance.BenchRequest) ([]string, error) {
	wrong := func(field, message string) error {
		p := appliance.NewProblem(appliance.ErrInvalidSpec, "the request for a bench is not valid")
		p.Fields = []appliance.FieldError{{Field: field, Message: message}}
		return p
	}
	var args []string
	switch req.Kind {
	case appliance.BenchRun:
		if req.Suite != "" || req.Quick {
			return nil, wrong("kind", "a run has a load; suite and quick belong to a suite")
		}
		if req.Load == nil {
			args = bench.UsualArgs(cluster)
			break
		}
		if err := load.Check(*req.Load, func(field string) string { return field }); err != nil {
			return nil, wrong("load", err.Error())
		}
		args = bench.RunArgs(cluster, *req.Load)
	case appliance.BenchSuite:
		if req.Load != nil {
			return nil, wrong("load", "a suite's loads are in its file")
		}
		args = bench.SuiteArgs(cluster, req.Quick, req.Suite != "")
	default:
		return nil, wrong("kind", "has to be run or suite")
	}
	if req.Yes != "" {
		return nil, wrong("yes_this_cluster", "a bench works in a copy, so nothing has to be allowed")
	}
	return args, nil
}

// benchWorker is the process of a bench that has just been started.
type benchWorker struct {
	// ended is closed when the process has ended.
	ended chan struct{}
	// said is what it has written to its standard error; the file has no name.
	said *os.File
}

// spawn starts the command in a session of its own.
func (b benches) spawn(ctx context.Context, args []string, input string) (*benchWorker, error) {
	self, err := program.Executable()
	if err != nil {
		return nil, err
	}
	said, err := unnamed(b.dir, "")
	if err != nil {
		return nil, err
	}
	in, err := unnamed(b.dir, input)
	if err != nil {
		return nil, errors.Join(err, said.Close())
	}
	defer func() { _ = in.Close() }() // it was only read
	// The bench outlives the request.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, args...) // #nosec G204 -- our own program
	cmd.Dir, cmd.Stdin, cmd.Stderr = "/", in, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, said.Close())
	}
	w := &benchWorker{ended: make(chan struct{}), said: said}
	go func() {
		_ = cmd.Wait() // its record says how it ended
		close(w.ended)
	}()
	return w, nil
}

// unnamed is a file with the text that nobody else finds. A pipe would end with the daemon.
func unnamed(dir, text string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".bench-")
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString(text)
	_, seekErr := f.Seek(0, io.SeekStart)
	if err := errors.Join(err, seekErr, os.Remove(f.Name())); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// begun waits until the bench has its record, or was refused. Where ctx ends before, the
// bench goes on.
func (w *benchWorker) begun(ctx context.Context, records bench.Records, id string) (b appliance.Bench, err error) {
	defer func() { _ = w.said.Close() }() // it was only read
	ctx, cancel := context.WithTimeout(ctx, benchStart)
	defer cancel()
	err = wait.Until(ctx, benchPoll, func(context.Context) (bool, error) {
		over := false
		select {
		case <-w.ended:
			over = true
		default:
		}
		b, err = records.Load(id)
		if appliance.IsProblem(err, appliance.ErrNotFound) && over {
			return false, w.refusal()
		}
		if appliance.IsProblem(err, appliance.ErrNotFound) {
			return false, nil
		}
		return true, err
	})
	if err != nil && ctx.Err() != nil {
		err = appliance.NewProblem(appliance.ErrTimeout, "bench %s has not begun in time", id).WithHint("pgapp bench ls shows whether it did")
	}
	return b, err
}

const (
	// benchStart bounds a bench's start, as far as its record.
	benchStart = 20 * time.Second
	// benchPoll is the pause between two looks for the record.
	benchPoll = 50 * time.Millisecond
	// maxRefusal bounds what a process that was refused may have said.
	maxRefusal = 64 << 10
)

// refusal is why a bench that has ended has no record.
func (w *benchWorker) refusal() error {
	text, err := io.ReadAll(io.NewSectionReader(w.said, 0, maxRefusal))
	if err != nil {
		return fmt.Errorf("reading why the bench has not begun: %w", err)
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	var said struct {
		Error *appliance.Problem `json:"error"`
	}
	if last := lines[len(lines)-1]; json.Unmarshal(last, &said) == nil && said.Error != nil {
		return said.Error
	}
	return appliance.NewProblem(appliance.ErrInternal, "the bench ended before it had begun").WithDetail(strings.ToValidUTF8(string(text), "?"))
}
