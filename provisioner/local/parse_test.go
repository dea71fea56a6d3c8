package local

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgapp/appliance"
)

func TestParseCgroupMount(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line, root, mount string
		ok                bool
	}{
		{"30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate", "/", "/sys/fs/cgroup", true},
		{"40 30 0:37 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw", "/", "/sys/fs/cgroup/unified", true},
		{"40 30 0:37 /docker/x /my\\040groups rw master:1 - cgroup2 none rw", "/docker/x", "/my groups", true},
		{"31 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", "", "", false},
		{"25 1 8:1 / /cgroup2 rw - ext4 /dev/sda1 rw", "", "", false},
		{"", "", "", false},
		{"nonsense - ", "", "", false},
	} {
		root, mount, ok := parseCgroupMount(c.line)
		if root != c.root || mount != c.mount || ok != c.ok {
			t.Errorf("%q: got %q, %q, %v", c.line, root, mount, ok)
		}
	}
}

func TestParsePidFile(t *testing.T) {
	t.Parallel()
	full := "4711\n/data\n1700000000\n5432\n/run\n127.0.0.1\n  65537  3\nready   \n"
	for _, c := range []struct {
		name, data string
		want       pidFile
		ok         bool
	}{
		{"running", full, pidFile{4711, "/data", "ready"}, true},
		{"starting", "4711\n/data\n1700000000\n5432\n", pidFile{4711, "/data", ""}, true},
		{"standalone backend", "-4711\n/data\n", pidFile{4711, "/data", ""}, true},
		{"empty", "", pidFile{}, false},
		{"nonsense", "xyz\n/data\n", pidFile{}, false},
		{"zero", "0\n", pidFile{}, false},
	} {
		got, ok := parsePidFile(c.data)
		if got != c.want || ok != c.ok {
			t.Errorf("%s: got %+v, %v", c.name, got, ok)
		}
	}
}

func TestServerReason(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, log, reason string
		id                appliance.ErrorID
	}{
		{
			"port taken", "2026-01-01 UTC [1] LOG:  starting PostgreSQL 17.12\n" +
				"2026-01-01 UTC [1] LOG:  could not bind IPv4 address \"127.0.122.1\": Address already in use\n" +
				"2026-01-01 UTC [1] HINT:  Is another postmaster already running on port 5432?\n" +
				"2026-01-01 UTC [1] FATAL:  could not create any TCP/IP sockets\n" +
				"2026-01-01 UTC [1] LOG:  database system is shut down\n",
			`could not bind IPv4 address "127.0.122.1": Address already in use`, appliance.ErrHostPortTaken,
		},
		{
			"configuration", "LOG:  unrecognized configuration parameter \"x\" in file\nFATAL:  configuration file contains errors\n",
			"configuration file contains errors", appliance.ErrPostgresStart,
		},
		{"disk", "PANIC:  could not write: No space left on device\n", "could not write: No space left on device", appliance.ErrHostNoSpace},
		{"loader", "postgres: error while loading shared libraries: libx.so\n", "postgres: error while loading shared libraries: libx.so", appliance.ErrPostgresStart},
		{"silence", "\n", "it exited at once without a message", appliance.ErrPostgresStart},
	} {
		if reason, id := appliance.ServerReason(c.log); reason != c.reason || id != c.id {
			t.Errorf("%s: got %q, %s", c.name, reason, id)
		}
	}
}

func TestStderrWriter(t *testing.T) {
	t.Parallel()
	var lines []string
	w := &stderrWriter{onLine: func(l string) { lines = append(lines, l) }}
	for _, part := range []string{"on", "e\ntwo\r", "\n\nthr", "ee"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	w.flush()
	w.flush()
	if diff := cmp.Diff([]string{"one", "two", "three"}, lines); diff != "" {
		t.Errorf("lines differ (-want +got):\n%s", diff)
	}
	lines = nil
	for range 100 {
		_, _ = w.Write([]byte(strings.Repeat("x", 10_000)))
	}
	if got := len(w.tail()); got != maxStderr {
		t.Errorf("%d bytes kept, want %d", got, maxStderr)
	}
	if len(lines) == 0 || cap(w.kept) > 8*maxStderr {
		t.Errorf("an endless line: %d lines, %d bytes held", len(lines), cap(w.kept))
	}
}

func TestScopeCommand(t *testing.T) {
	t.Parallel()
	want := "/usr/bin/systemd-run --user --scope --quiet --collect --unit=pgapp-0f1e2d3c-node0 --property=Delegate=yes --"
	m := &machine{place{uuid: testUUID, member: "node0"}}
	if got := strings.Join(scopeCommand(m.tag()), " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSocketDirFits(t *testing.T) {
	t.Parallel()
	for n := range 120 {
		p := &Provider{home: "/" + strings.Repeat("h", n), temp: "/tmp"}
		m := p.machine(testCluster(), appliance.Member{Name: "node0"})
		dir := m.socketDir()
		if got := len(dir + longestSocket); got > maxSocketPath {
			t.Fatalf("home of %d: a socket path of %d bytes", n, got)
		}
		if n < 20 && dir != m.dir+"/run" {
			t.Errorf("home of %d: the sockets are in %s", n, dir)
		}
	}
}

func TestParseSharedMemory(t *testing.T) {
	t.Parallel()
	le := binary.LittleEndian
	dir := fileID{device: 65024, inode: 1 << 40}
	header := make([]byte, shmemHeaderLen)
	le.PutUint32(header, shmemMagic)
	le.PutUint32(header[shmemControlAt:], 4242)
	le.PutUint64(header[shmemDeviceAt:], dir.device)
	le.PutUint64(header[shmemInodeAt:], dir.inode)
	if control, ok := parseShmemHeader(header, map[fileID]bool{dir: true}); control != 4242 || !ok {
		t.Errorf("got %d, %v; want 4242", control, ok)
	}
	if _, ok := parseShmemHeader(header, map[fileID]bool{{dir.device, dir.inode + 1}: true}); ok {
		t.Error("another directory's segment counts as ours")
	}
	for _, bad := range [][]byte{nil, header[:20], make([]byte, shmemHeaderLen)} {
		if _, ok := parseShmemHeader(bad, map[fileID]bool{dir: true}); ok {
			t.Errorf("%d bytes of nonsense count as ours", len(bad))
		}
	}
	control := make([]byte, controlItemsAt+3*controlItemLen)
	le.PutUint32(control, controlMagic)
	le.PutUint32(control[controlCountAt:], 100) // more than there is room for
	for i, refs := range []uint32{2, 0, 1} {
		item := control[controlItemsAt+i*controlItemLen:]
		le.PutUint32(item, uint32(10+i))
		le.PutUint32(item[4:], refs)
	}
	if diff := cmp.Diff([]uint32{10, 12}, parseControl(control)); diff != "" {
		t.Errorf("handles differ (-want +got):\n%s", diff)
	}
	table := "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid\n" +
		"   1056779          3   600                    56  4711  4712      0   101   104   101\n" +
		"   1056780          4   600                    56  4711  4712      6   101   104   101\n" +
		"   1056781          5   600                    56  4711  4712      0  1001   104   101\n"
	want := []segment{{1056779, 3, 0}, {1056780, 4, 6}}
	got := segments(table, 101)
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(segment{})); diff != "" {
		t.Errorf("segments differ (-want +got):\n%s", diff)
	}
	for inode, near := range map[uint64]bool{1056779: true, 1056778: true, 1056780: false, 1056700: false, 7<<32 | 1056779: true} {
		if got[0].near(map[fileID]bool{{1, inode}: true}) != near {
			t.Errorf("near inode %d: %t", inode, !near)
		}
	}
}
