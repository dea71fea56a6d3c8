package libvirt

import (
	"bytes"
	"context"
	"io/fs"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing/fstest"

	"pgapp/provisioner/libvirt/host"
)

// fakeHost is a machine with the files, processes and addresses that a test
// gives it.
type fakeHost struct {
	mu        sync.Mutex
	processes []host.Process
	// outputs are what programs print, by the program's name.
	outputs map[string]string
	root    bool
	// immortal processes survive a kill.
	immortal bool
	clock    bool
	files    fstest.MapFS
	// free are the bytes that are free, by directory.
	free map[string]uint64
	// listening are the addresses that servers have bound; a connection to any
	// other address of living is refused, to the rest it comes to no end.
	listening map[string]bool
	living    map[string]bool
	loose     map[string]bool
}

func newFakeHost() *fakeHost {
	return &fakeHost{
		outputs: map[string]string{}, files: fstest.MapFS{}, clock: true,
		free: map[string]uint64{"/": 50 << 30}, listening: map[string]bool{}, living: map[string]bool{}, loose: map[string]bool{},
	}
}

func (f *fakeHost) host() Host { return Host{System: f, Files: f, Network: f} }

func (f *fakeHost) Processes(context.Context) ([]host.Process, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]host.Process(nil), f.processes...), nil
}

func (f *fakeHost) Kill(p host.Process) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.processes = slices.DeleteFunc(f.processes, func(q host.Process) bool { return q.PID == p.PID && !f.immortal })
	return nil
}

func (f *fakeHost) Run(_ context.Context, name string, _ ...string) ([]byte, error) {
	out, ok := f.outputs[name]
	if !ok {
		return nil, &exec.Error{Name: name, Err: exec.ErrNotFound}
	}
	return []byte(out), nil
}

func (f *fakeHost) Root() bool { return f.root }

func (*fakeHost) InGroup(string) bool { return false }

func (f *fakeHost) ClockSynchronised() (bool, error) { return f.clock, nil }

func (f *fakeHost) Stat(path string) (fs.FileInfo, error) { return f.files.Stat(inFS(path)) }

type fakeFile struct{ *bytes.Reader }

func (fakeFile) Close() error { return nil }

func (f *fakeHost) Open(path string) (host.File, error) {
	b, err := f.files.ReadFile(inFS(path))
	return fakeFile{bytes.NewReader(b)}, err
}

// inFS is an absolute path as package fs takes it.
func inFS(path string) string {
	if path == "/" {
		return "."
	}
	return strings.TrimPrefix(path, "/")
}

func (f *fakeHost) FreeBytes(dirs ...string) (uint64, error) {
	for _, d := range dirs {
		if n, ok := f.free[d]; ok {
			return n, nil
		}
	}
	return 0, fs.ErrNotExist
}

func (f *fakeHost) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	name, _, err := net.SplitHostPort(address)
	switch {
	case err != nil:
		return nil, err
	case name == "127.0.0.1": // guests that a test lets stand there
		return (&net.Dialer{}).DialContext(ctx, network, address)
	case f.listening[address]:
		here, there := net.Pipe()
		return here, there.Close()
	case f.living[name]:
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.EHOSTUNREACH}
}

func (f *fakeHost) Listens(_ context.Context, address string) bool { return f.listening[address] }

func (f *fakeHost) OnNoBridge(card string) (bool, error) { return f.loose[card], nil }
