package ssh

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"pgapp/appliance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func echo(t *testing.T, c *Client) {
	t.Helper()
	r, err := c.As("").Run(t.Context(), appliance.Command{Argv: []string{"echo", "hello"}})
	if err != nil || string(r.Stdout) != "hello\n" {
		t.Fatalf("got %q, %v", r.Stdout, err)
	}
}

func TestRunReusesConnection(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.client(t)
	for range 3 {
		echo(t, c)
	}
	if n := s.handshakes.Load(); n != 1 {
		t.Errorf("got %d handshakes, want 1", n)
	}
	s.dropAll()
	echo(t, c)
	if n := s.handshakes.Load(); n != 2 {
		t.Errorf("got %d handshakes after a lost connection, want 2", n)
	}
	c.Drop()
	echo(t, c)
	if n := s.handshakes.Load(); n != 3 {
		t.Errorf("got %d handshakes after Drop, want 3", n)
	}
}

func TestConnectRefusesWrongHostKeyBeforeCredentials(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	cfg := s.config(t)
	other, err := PublicKey(mustKey(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.HostKey = other
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	secret := strings.NewReader("canary")
	_, err = c.As("").Run(ctx, appliance.Command{Argv: []string{"cat"}, Stdin: secret})
	if !appliance.IsProblem(err, appliance.ErrGuestHostKey) || ReasonOf(err) != ReasonHostKey {
		t.Errorf("Run: got %v, want a guest-host-key problem", err)
	}
	if secret.Len() != len("canary") {
		t.Error("the command's input was read")
	}
	begun := time.Now()
	if err := c.WaitReady(ctx, nil); !appliance.IsProblem(err, appliance.ErrGuestHostKey) {
		t.Errorf("WaitReady: got %v, want a guest-host-key problem", err)
	}
	if time.Since(begun) > 10*time.Second {
		t.Error("WaitReady went on after a wrong host key")
	}
	if s.keysSeen.Load() != 0 || s.handshakes.Load() != 0 {
		t.Error("the server was offered a key of ours")
	}
	if p := appliance.AsProblem(err); p.Hint == "" {
		t.Error("the problem has no hint")
	}
}

func TestConnectRefusesServerWithoutEd25519(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	defer func() { _ = a.Close() }()
	go func() { // an SSH server that knows only what we never asked for
		_, _ = io.WriteString(b, "SSH-2.0-old\r\n")
		_, _ = io.Copy(io.Discard, b)
	}()
	defer func() { _ = b.Close() }()
	s := newServer(t)
	cfg := s.config(t)
	cfg.Handshake = 300 * time.Millisecond
	cfg.Dial = func(context.Context, string, string) (net.Conn, error) { return a, nil }
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Connect(t.Context()); ReasonOf(err) != ReasonTimeout {
		t.Errorf("a server that stalls: got %v, want reason %q", err, ReasonTimeout)
	}
}

func TestConnectReportsReason(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	wrongUserKey := s.config(t)
	wrongUserKey.Key = mustKey(t)
	refused := s.config(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused.Address = l.Addr().String()
	_ = l.Close()
	silent := s.config(t)
	silent.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for _, tc := range []struct {
		name string
		cfg  Config
		want Reason
	}{
		{"another user key", wrongUserKey, ReasonAuth},
		{"nothing listens", refused, ReasonRefused},
		{"no machine", silent, ReasonTimeout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, err := New(tc.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			err = c.Connect(ctx)
			if ReasonOf(err) != tc.want || !appliance.IsProblem(err, appliance.ErrMemberUnreachable) {
				t.Errorf("got %v (%q), want %q", err, ReasonOf(err), tc.want)
			}
		})
	}
}

func TestWaitReadyRepeatsDuringBoot(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	booting := "\"System is booting up. Unprivileged users are not permitted to log in yet.\""
	s.deny.Store(&booting)
	c := s.client(t)
	seen := map[Reason]int{}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := c.WaitReady(ctx, func(r Reason) {
		seen[r]++
		s.deny.Store(nil)
	})
	if err != nil || seen[ReasonBooting] != 1 {
		t.Errorf("got %v after %v, want success after one attempt while booting", err, seen)
	}
}

func TestWaitReadyReturnsLastReason(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	cfg := s.config(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Address = l.Addr().String()
	_ = l.Close()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := c.WaitReady(ctx, nil); ReasonOf(err) != ReasonRefused {
		t.Errorf("got %v, want reason %q", err, ReasonRefused)
	}
}

func TestNewRefusesBadKeysWithoutShowingThem(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	good := s.config(t)
	for name, change := range map[string]func(*Config){
		"private key": func(c *Config) { c.Key = appliance.NewSecret("canary") },
		"host key":    func(c *Config) { c.HostKey = "canary" },
		"rsa":         func(c *Config) { c.HostKey = rsaLine },
	} {
		cfg := good
		change(&cfg)
		_, err := New(cfg)
		if err == nil {
			t.Fatalf("%s: no error", name)
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}

const rsaLine = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDO"

func TestNewRequiresDial(t *testing.T) {
	t.Parallel()
	cfg := newServer(t).config(t)
	cfg.Dial = nil
	if c, err := New(cfg); err == nil {
		c.Close()
		t.Error("New without Dial: got no error, want one")
	}
}

func TestKeysRoundTrip(t *testing.T) {
	t.Parallel()
	key := mustKey(t)
	public, err := PublicKey(key)
	if err != nil || !strings.HasPrefix(public, "ssh-ed25519 AAAA") {
		t.Fatalf("got %q, %v", public, err)
	}
	if !strings.HasPrefix(key.Reveal(), "-----BEGIN OPENSSH PRIVATE KEY-----\n") {
		t.Error("the private key isn't in OpenSSH's format")
	}
	if _, err := parsePublic(public); err != nil {
		t.Error(err)
	}
}
