package libvirt

import (
	"context"
	"io"
	"io/fs"
	"net"

	"pgapp/provisioner/libvirt/host"
)

// Host is the machine whose libvirt runs the guests. Everything that the
// provider asks of that machine without libvirt goes through here: a fence is
// proven by the host's processes, and another machine's would prove nothing.
type Host struct {
	System  System
	Files   Files
	Network Network
}

// System is the host's kernel and programs.
type System interface {
	Processes(ctx context.Context) ([]host.Process, error)
	Kill(p host.Process) error
	Run(ctx context.Context, name string, args ...string) ([]byte, error)
	Root() bool
	InGroup(name string) bool
	ClockSynchronised() (bool, error)
}

// Files are the host's files: of disks, of pools, of /proc.
type Files interface {
	Stat(path string) (fs.FileInfo, error)
	Open(path string) (host.File, error)
	FreeBytes(dirs ...string) (uint64, error)
}

// Network is the host's network: its links, its own addresses, and the way to
// libvirt and to guests.
type Network interface {
	Dial(ctx context.Context, network, address string) (net.Conn, error)
	Listens(ctx context.Context, address string) bool
	OnNoBridge(card string) (bool, error)
}

// readFile reads a small file of the host whole.
func readFile(files Files, path string) ([]byte, error) {
	f, err := files.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, 1<<20))
}

// ThisMachine is the machine that pgapp runs on.
func ThisMachine() Host {
	return Host{System: host.Local{}, Files: host.Local{}, Network: host.Local{}}
}
