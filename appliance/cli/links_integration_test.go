//go:build integration

package cli_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/scripts/pacetest"
)

// theDaemon names pgapp itself as the end of a link: the daemon, and every command that
// the box runs.
const theDaemon = "daemon"

// nftCgroups is where nft looks for cgroups, whatever is mounted there.
const nftCgroups = "/sys/fs/cgroup"

// links are the links between a box's members and its daemon. A cut link loses all
// packets of one direction, silently, as a broken switch does; connections stay open.
//
// All members' packets come from 127.0.0.1, so that a client is known by the cgroup of its
// socket, and a server by its address.
type links struct {
	box *box
	// mount is where cgroups of version 2 are; own is the daemon's.
	mount, own string

	mu     sync.Mutex
	cuts   map[link]bool
	loaded string
	// uuid and at are the cluster's and its members' addresses.
	uuid string
	at   map[string]string
}

// link is one direction of a link.
type link struct{ from, to string }

// newLinkedBox makes a box whose links can be cut. Where this machine can't cut links, the
// test is skipped with the reason.
func newLinkedBox(t *testing.T) *box {
	t.Helper()
	if !isolated() {
		t.Skip("SKIPPED: cutting members' links needs a network of the test's own, which needs root")
	}
	mount := cgroupMount(t)
	own, err := os.MkdirTemp(mount, "pgapp-links-")
	if err != nil {
		t.Skipf("SKIPPED: cutting members' links needs cgroups of version 2: %v", err)
	}
	t.Cleanup(func() { // the last of its processes may still be ending
		var err error
		if pacetest.Until(commandTimeout, func() bool { err = os.Remove(own); return !errors.Is(err, unix.EBUSY) }); err != nil {
			t.Error(err)
		}
	})
	b := newBox(t)
	b.links = &links{box: b, mount: mount, own: own, cuts: map[link]bool{}, at: map[string]string{}}
	b.prefix = append(b.prefix, "sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(own, "cgroup.procs"))
	b.links.probe()
	return b
}

// cgroupMount is where this machine has cgroups of version 2.
func cgroupMount(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{nftCgroups, filepath.Join(nftCgroups, "unified")} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir
		}
	}
	t.Skip("SKIPPED: cutting members' links needs cgroups of version 2 below " + nftCgroups)
	return ""
}

// probe skips the test where nft or the kernel doesn't know a socket's cgroup. A missing
// nft, which scripts/test installs, is a failure.
func (l *links) probe() {
	l.box.t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		l.box.t.Fatal("nft is not installed: run scripts/test as root, or apt-get install nftables")
	}
	if out, err := l.nft("table ip probe { chain c { type filter hook output priority 0; " + l.in(l.own) + " counter; }; }\ndelete table ip probe\n"); err != nil {
		l.box.t.Skipf("SKIPPED: this kernel or nft does not match sockets by cgroup: %v: %s", err, out)
	}
}

func (l *links) nft(rules string) (string, error) {
	// The links are healed after the test's context has ended.
	cmd := exec.CommandContext(context.Background(), "nsenter", "--net="+l.box.net.path(), "--", "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// in is nft's expression for sockets that the cgroup's processes made.
func (l *links) in(dir string) string {
	depth, _ := filepath.Rel(l.mount, dir)
	path, _ := filepath.Rel(nftCgroups, dir)
	return fmt.Sprintf("socket cgroupv2 level %d %q", strings.Count(depth, "/")+1, path)
}

// group is the cgroup of a member or of the daemon.
func (l *links) group(name string) string {
	if name == theDaemon {
		return l.own
	}
	return filepath.Join(l.mount, "pgapp-"+l.uuid[:8]+"-"+name)
}

// know notes the members of the box's cluster.
func (l *links) know() {
	l.box.t.Helper()
	s := l.box.ps()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.uuid = s.UUID
	for _, m := range s.Members {
		l.at[m.Name] = fmt.Sprintf("ip %%s %s tcp %%s %d", m.Host, m.Port)
	}
}

// rules are nft's for the cuts. A member that was fenced and is started again has a new
// cgroup, which no rule knows yet: all that its clients send is dropped until then.
func (l *links) rules() string {
	var out, in strings.Builder
	var names, known []string
	for name := range l.at {
		names = append(names, name)
	}
	slices.Sort(names)
	identity := ""
	for _, name := range append(names, theDaemon) {
		var st unix.Stat_t
		if unix.Stat(l.group(name), &st) == nil {
			known = append(known, name)
			identity += " " + name + "=" + strconv.FormatUint(st.Ino, 10)
		}
	}
	server := func(name, address, port string) string { return fmt.Sprintf(l.at[name], address, port) }
	for _, from := range known {
		for to := range l.at {
			if l.cuts[link{from, to}] {
				fmt.Fprintf(&out, "%s %s drop\n", l.in(l.group(from)), server(to, "daddr", "dport"))
			}
			if l.cuts[link{to, from}] {
				fmt.Fprintf(&in, "%s %s drop\n", l.in(l.group(from)), server(to, "saddr", "sport"))
			}
		}
	}
	for _, name := range known {
		fmt.Fprintf(&out, "%s accept\n", l.in(l.group(name)))
	}
	fmt.Fprintf(&out, "%s drop\n", strings.Replace(l.in(l.own), "\"", "!= \"", 1))
	return fmt.Sprintf("#%s\ntable ip cuts { }\ndelete table ip cuts\ntable ip cuts {\nchain out {\ntype filter hook output priority 0;\n%s}\nchain in {\ntype filter hook input priority 0;\n%s}\n}\n", identity, &out, &in)
}

// load puts the rules into the kernel, if they have changed.
func (l *links) load() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	rules := l.rules()
	if len(l.cuts) == 0 {
		rules = "table ip cuts { }\ndelete table ip cuts\n"
	}
	if rules == l.loaded {
		return nil
	}
	if out, err := l.nft(rules); err != nil {
		return fmt.Errorf("cutting links: %w: %s\n%s", err, out, rules)
	}
	l.loaded = rules
	return nil
}

// follow loads the rules again when a member gets a new cgroup, until the test ends. A
// cgroup may go while the rules are loaded: that is tried again.
func (l *links) follow() {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				_ = l.load()
			}
		}
	}()
	l.box.t.Cleanup(func() {
		close(stop)
		<-ended
		l.box.heal()
	})
}

// cutOneWay loses what from sends to to. What to sends gets through.
func (b *box) cutOneWay(from, to string) {
	b.t.Helper()
	if b.links.uuid == "" {
		b.links.know()
		b.links.follow()
	}
	b.links.set(func(cuts map[link]bool) { cuts[link{from, to}] = true })
}

// cut loses what the two send to each other.
func (b *box) cut(one, other string) {
	b.t.Helper()
	b.cutOneWay(one, other)
	b.cutOneWay(other, one)
}

// heal mends all links.
func (b *box) heal() {
	b.t.Helper()
	b.links.set(func(cuts map[link]bool) { clear(cuts) })
}

func (l *links) set(change func(map[link]bool)) {
	l.box.t.Helper()
	l.mu.Lock()
	change(l.cuts)
	l.mu.Unlock()
	l.box.must(l.load())
}
