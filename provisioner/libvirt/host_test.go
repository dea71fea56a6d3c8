package libvirt

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
	"pgapp/provisioner/libvirt/host"
)

// knownHost is what is so on a host when the contract is tested there.
type knownHost struct {
	host Host
	// file holds "0123456789"; dir is a directory; missing is neither.
	file, dir, missing string
	// listening is an address that a server has bound, refusing one that
	// answers but has no server.
	listening, refusing string
	// argv are the arguments of a process that runs.
	argv []string
}

func TestHostContract(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]func(t *testing.T) knownHost{"this machine": thisMachine, "the fake": fakeMachine} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := known(t)
			t.Run("files", func(t *testing.T) { checkFiles(t, k) })
			t.Run("network", func(t *testing.T) { checkNetwork(t, k) })
			t.Run("system", func(t *testing.T) { checkSystem(t, k) })
		})
	}
}

func thisMachine(t *testing.T) knownHost {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	server, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	gone, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := gone.Addr().String()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	return knownHost{
		host: ThisMachine(), file: file, dir: dir, missing: filepath.Join(dir, "missing"),
		listening: server.Addr().String(), refusing: refusing, argv: os.Args,
	}
}

func fakeMachine(*testing.T) knownHost {
	f := newFakeHost()
	f.files["dir/file"] = &fstest.MapFile{Data: []byte("0123456789")}
	f.free["/dir"] = 1 << 30
	f.listening["192.168.122.1:5432"], f.living["192.168.122.1"] = true, true
	f.processes = []host.Process{{PID: 7, Argv: []string{"qemu", "-uuid", "a b"}}}
	return knownHost{
		host: f.host(), file: "/dir/file", dir: "/dir", missing: "/missing",
		listening: "192.168.122.1:5432", refusing: "192.168.122.1:22", argv: []string{"qemu", "-uuid", "a b"},
	}
}

func checkFiles(t *testing.T, k knownHost) {
	t.Helper()
	files := k.host.Files
	if _, err := files.Stat(k.missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: got %v", err)
	}
	if _, err := files.Open(k.missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening a missing file: got %v", err)
	}
	if info, err := files.Stat(k.dir); err != nil || !info.IsDir() {
		t.Errorf("a directory: got %v, %v", info, err)
	}
	f, err := files.Open(k.file)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 3)
	if _, err := f.ReadAt(b, 4); err != nil || string(b) != "456" {
		t.Errorf("reading at 4: got %q, %v", b, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if text, err := readFile(files, k.file); err != nil || string(text) != "0123456789" {
		t.Errorf("reading the file: got %q, %v", text, err)
	}
	if n, err := files.FreeBytes(k.missing, k.dir); err != nil || n == 0 {
		t.Errorf("free bytes of the first directory that exists: got %d, %v", n, err)
	}
	if _, err := files.FreeBytes(k.missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("free bytes of a missing directory: got %v", err)
	}
}

func checkNetwork(t *testing.T, k knownHost) {
	t.Helper()
	network := k.host.Network
	conn, err := network.Dial(t.Context(), "tcp", k.listening)
	if err != nil {
		t.Fatalf("connecting to a server: %v", err)
	}
	_ = conn.Close()
	if _, err := network.Dial(t.Context(), "tcp", k.refusing); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connecting where nobody listens: got %v", err)
	}
	if !network.Listens(t.Context(), k.listening) || network.Listens(t.Context(), k.refusing) {
		t.Errorf("a server listens at %s only, and got %v, %v", k.listening, network.Listens(t.Context(), k.listening), network.Listens(t.Context(), k.refusing))
	}
	if loose, err := network.OnNoBridge("no-such-card"); err != nil || loose {
		t.Errorf("a card that the host doesn't have: got %v, %v", loose, err)
	}
}

func checkSystem(t *testing.T, k knownHost) {
	t.Helper()
	all, err := k.host.System.Processes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(all, func(p host.Process) bool { return p.PID > 0 && slices.Equal(p.Argv, k.argv) }) {
		t.Errorf("no process %q among %d", k.argv, len(all))
	}
	if _, err := k.host.System.Run(t.Context(), "no-such-program-of-pgapp"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("a missing program: got %v", err)
	}
	if k.host.System.InGroup("no-such-group-of-pgapp") {
		t.Error("the user is in a group that does not exist")
	}
	if _, err := k.host.System.ClockSynchronised(); err != nil {
		t.Error(err)
	}
}

func TestOnNoBridgeReadsLoopback(t *testing.T) {
	t.Parallel()
	if loose, err := ThisMachine().Network.OnNoBridge("lo"); err != nil || !loose {
		t.Errorf("got %v, %v", loose, err)
	}
}

func TestFenceReadsHostsProcesses(t *testing.T) {
	t.Parallel()
	w, c, m := inLife(t)
	delete(w.fake.domains, m.Domain)
	w.host.processes = []host.Process{{PID: 4711, Argv: []string{"/usr/bin/qemu-system-x86_64", "-name", "x", "-uuid", m.UUID}}}
	err := w.guest(c, m).Fence(t.Context())
	if !appliance.IsProblem(err, appliance.ErrFence) || !strings.Contains(err.Error(), "4711") {
		t.Errorf("with its process on the host: got %v", err)
	}
	for _, argv := range [][]string{{"qemu", "-uuid", uuidB, "-uuid", m.UUID}, {"qemu", "-name", "-uuid", "-uuid", m.UUID}} {
		w.host.processes[0].Argv = argv
		if err := w.guest(c, m).Fence(t.Context()); !appliance.IsProblem(err, appliance.ErrFence) {
			t.Errorf("with %q on the host: got %v", argv, err)
		}
	}
	w.host.processes[0].Argv = []string{"qemu", "-uuid", uuidB}
	if err := w.guest(c, m).Fence(t.Context()); err != nil {
		t.Errorf("with another machine's process on the host: got %v", err)
	}
}

func TestFenceKillsProcessThatLibvirtCantEnd(t *testing.T) {
	t.Parallel()
	running := func(m appliance.Member) []host.Process {
		return []host.Process{{PID: 4711, Argv: []string{"qemu", "-uuid", m.UUID}}, {PID: 4712, Argv: []string{"qemu", "-uuid", uuidB}}}
	}
	for name, libvirt := range map[string]func(w world, m appliance.Member){
		"unknown to libvirt":     func(w world, m appliance.Member) { delete(w.fake.domains, m.Domain) },
		"libvirt doesn't answer": func(w world, _ appliance.Member) { w.fake.failDestroy = errors.New("no answer") },
	} {
		w, c, m := inLife(t)
		libvirt(w, m)
		w.host.processes = running(m)
		if err := w.guest(c, m).Fence(t.Context()); !appliance.IsProblem(err, appliance.ErrFence) {
			t.Errorf("%s, not as root: got %v", name, err)
		}
		w.host.root = true
		if err := w.guest(c, m).Fence(t.Context()); err != nil {
			t.Errorf("%s, as root: got %v", name, err)
		}
		if left := w.host.processes; len(left) != 1 || left[0].PID != 4712 {
			t.Errorf("%s: the host's processes are %v, want another machine's alone", name, left)
		}
	}
}

func TestFenceOfProcessThatSurvivesIsUnproven(t *testing.T) {
	t.Parallel()
	w, c, m := inLife(t)
	delete(w.fake.domains, m.Domain)
	w.host.root, w.host.immortal = true, true
	w.host.processes = []host.Process{{PID: 4711, Argv: []string{"qemu", "-uuid", m.UUID}}}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := w.guest(c, m).Fence(ctx); !appliance.IsProblem(err, appliance.ErrFence) || !strings.Contains(err.Error(), "4711") {
		t.Errorf("got %v, want %s that names process 4711", err, appliance.ErrFence)
	}
}

func TestKillEndsOnlyTheProcessThatWasListed(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := host.Process{PID: cmd.Process.Pid, Argv: []string{"sleep", "1000"}}
	err := wait.Until(t.Context(), time.Millisecond, func(ctx context.Context) (bool, error) { // its arguments show only after its start
		all, err := host.Local{}.Processes(ctx)
		return slices.ContainsFunc(all, func(q host.Process) bool { return q.PID == p.PID && slices.Equal(q.Argv, p.Argv) }), err
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Argv = []string{"sleep", "1001"}
	if err := (host.Local{}).Kill(p); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("another process of that number was killed: %v", err)
	}
	p.Argv = []string{"sleep", "1000"}
	if err := (host.Local{}).Kill(p); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the process ended with %v", err)
	}
	if err := (host.Local{}).Kill(p); err != nil {
		t.Errorf("killing a process that has ended: %v", err)
	}
}

// ownFiles are the files that may use this machine's: a seed is made in the
// daemon's own directory, and an image is uploaded from one.
func ownFiles() map[string][]string {
	return map[string][]string{
		"seed.go":   {"MkdirTemp", "RemoveAll", "WriteFile", "File"},
		"images.go": {"Open"},
		"doctor.go": {"Open"},
	}
}

// TestSourceCallsSystemOnlyThroughHost holds that the package asks this machine
// nothing about libvirt's host: whatever it uses of os, net and the like makes
// no call to the system.
func TestSourceCallsSystemOnlyThroughHost(t *testing.T) {
	t.Parallel()
	pure := map[string][]string{
		// What could hold a call to the system under another name.
		"pgapp/provisioner/libvirt/host": {"Process", "File"}, "io/ioutil": nil, "plugin": nil,
		"os":                    {"ErrNotExist", "FileMode"},
		"os/exec":               {"ErrNotFound"},
		"os/user":               nil,
		"net":                   {"JoinHostPort", "Conn", "ParseCIDR", "HardwareAddr", "ErrClosed"},
		"syscall":               {"ECONNREFUSED", "ECONNRESET", "ENOENT", "EACCES", "EPERM", "EPIPE", "EINVAL"},
		"golang.org/x/sys/unix": nil,
		"path/filepath":         {"Base", "Dir", "Join", "IsAbs", "Ext"},
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	calls, err := filepath.Glob("rpc/*.go")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, calls...)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		imported := map[string]string{}
		for _, i := range f.Imports {
			path := strings.Trim(i.Path.Value, `"`)
			if _, ok := pure[path]; ok {
				name := filepath.Base(path)
				if i.Name != nil {
					name = i.Name.Name
				}
				imported[name] = path
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			if !ok || pkg.Obj != nil || imported[pkg.Name] == "" {
				return true
			}
			path := imported[pkg.Name]
			if slices.Contains(pure[path], sel.Sel.Name) || name == "host.go" && sel.Sel.Name == "Local" || path == "os" && slices.Contains(ownFiles()[name], sel.Sel.Name) {
				return true
			}
			t.Errorf("%s uses %s.%s: ask the Host, which may be another machine", set.Position(sel.Pos()), pkg.Name, sel.Sel.Name)
			return true
		})
	}
}
