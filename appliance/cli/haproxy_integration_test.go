//go:build integration

package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
)

// unixDialer leads every connection to the socket.
func unixDialer(path string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
}

// The listeners of the proxy, in the box's network.
const (
	proxyRW = "127.0.9.1:6432"
	proxyRO = "127.0.9.1:6433"
)

// TestHAProxy has a real HAProxy find the primary and the standbys by the
// daemon's health checks.
func TestHAProxy(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		t.Fatal("haproxy is not installed: run scripts/test as root, or apt-get install haproxy")
	}
	b := newBox(t).shareTree()
	s := b.up("--standbys", "1")
	info, err := b.api().Info(t.Context())
	b.must(err)
	api, err := url.Parse(info.URL)
	b.must(err)
	conf := proxyConf(s, api)
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	b.must(os.WriteFile(file, []byte(conf), 0o600))
	proxy := b.tool(program, "-db", "-f", file)
	var log bytes.Buffer
	proxy.Stdout, proxy.Stderr = &log, &log
	b.must(proxy.Start())
	t.Cleanup(func() {
		_ = proxy.Process.Kill()
		_ = proxy.Wait() // it was killed
		if t.Failed() {
			t.Log(log.String(), conf)
		}
	})
	through := func(addr, query, want string) {
		t.Helper()
		host, port, _ := net.SplitHostPort(addr)
		var out []byte
		var err error
		for end := time.Now().Add(commandTimeout); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			cmd := b.tool(pgbin(t)+"/psql", "-w", "-XAtqc", query)
			cmd.Env = append(os.Environ(), "PGHOST="+host, "PGPORT="+port, "PGUSER=app", "PGDATABASE=pagila", "PGCONNECT_TIMEOUT=3", "PGPASSWORD="+password(t, b))
			if out, err = cmd.CombinedOutput(); err == nil && strings.TrimSpace(string(out)) == want {
				return
			}
		}
		t.Fatalf("%s through %s: %v, %s, want %s", query, addr, err, out, want)
	}
	through(proxyRW, "CREATE TABLE IF NOT EXISTS proxied (n int); INSERT INTO proxied VALUES (7); SELECT pg_is_in_recovery()", "f")
	through(proxyRO, "SELECT n, pg_is_in_recovery() FROM proxied LIMIT 1", "7|t")
	b.ok("stop", "node1")
	through(proxyRO, "SELECT pg_is_in_recovery()", "f")
	through(proxyRW, "SELECT pg_is_in_recovery()", "f")
	b.ok("start", "node1")
	through(proxyRO, "SELECT pg_is_in_recovery()", "t")
}

// proxyConf has one backend for each check; reads go to the primary where no
// standby is well.
func proxyConf(s appliance.ClusterStatus, api *url.URL) string {
	conf := "defaults\n mode tcp\n timeout connect 2s\n timeout client 60s\n timeout server 60s\n timeout check 10s\n"
	conf += fmt.Sprintf("frontend rw\n bind %s\n default_backend primary\n", proxyRW)
	conf += fmt.Sprintf("frontend ro\n bind %s\n use_backend replica if { nbsrv(replica) gt 0 }\n default_backend read-only\n", proxyRO)
	for _, check := range []string{"primary", "replica", "read-only"} {
		conf += fmt.Sprintf(`backend %s
 option httpchk
 http-check send meth GET uri-lf /health/%s/%%[srv_name]/%s ver HTTP/1.1 hdr Host %s
 http-check expect status 200
 default-server inter 300ms fall 2 rise 1 on-marked-down shutdown-sessions
`, check, s.Name, check, api.Host)
		for _, m := range s.Members {
			conf += fmt.Sprintf(" server %s %s check addr %s port %s\n", m.Name, net.JoinHostPort(m.Host, strconv.Itoa(m.Port)), api.Hostname(), api.Port())
		}
	}
	return conf
}

// password is the application's.
func password(t *testing.T, b *box) string {
	t.Helper()
	u, err := url.Parse(strings.TrimSpace(b.ok("url", "--driver", "pgx", "--show-password").out))
	b.must(err)
	p, _ := u.User.Password()
	return p
}
