package ssh

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"pgapp/appliance"
)

// server is an SSH server in this process. It runs commands by sh, as sshd does.
type server struct {
	t        *testing.T
	listener net.Listener
	hostKey  appliance.Secret
	userKey  appliance.Secret

	handshakes atomic.Int64
	keysSeen   atomic.Int64
	// deny, if set, is the banner of a refused login.
	deny atomic.Pointer[string]
	// lateReply delays the confirmation of a command's start; early is set if
	// input arrives before the confirmation.
	lateReply time.Duration
	early     atomic.Bool

	mu    sync.Mutex
	conns []net.Conn
	work  sync.WaitGroup
}

func mustKey(t *testing.T) appliance.Secret {
	t.Helper()
	key, err := GenerateKey("test")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newServer(t *testing.T) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, listener: l, hostKey: mustKey(t), userKey: mustKey(t)}
	s.work.Go(s.accept)
	t.Cleanup(func() {
		_ = l.Close()
		s.dropAll()
		s.work.Wait()
	})
	return s
}

func (s *server) config(t *testing.T) Config {
	t.Helper()
	public, err := PublicKey(s.hostKey)
	if err != nil {
		t.Fatal(err)
	}
	return Config{Address: s.listener.Addr().String(), User: "pgapp", Key: s.userKey, HostKey: public, Dial: (&net.Dialer{}).DialContext}
}

func (s *server) client(t *testing.T) *Client {
	t.Helper()
	c, err := New(s.config(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (s *server) dropAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func (s *server) accept() {
	for {
		raw, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns = append(s.conns, raw)
		s.mu.Unlock()
		s.work.Go(func() { s.serve(raw) })
	}
}

func (s *server) serverConfig() *ssh.ServerConfig {
	cfg := &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			s.keysSeen.Add(1)
			want, _ := parsePrivate(s.userKey)
			if s.deny.Load() != nil || !bytes.Equal(key.Marshal(), want.PublicKey().Marshal()) {
				return nil, errors.New("no")
			}
			return nil, nil
		},
		BannerCallback: func(ssh.ConnMetadata) string {
			if b := s.deny.Load(); b != nil {
				return *b
			}
			return ""
		},
	}
	signer, err := parsePrivate(s.hostKey)
	if err != nil {
		s.t.Error(err)
	}
	cfg.AddHostKey(signer)
	return cfg
}

func (s *server) serve(raw net.Conn) {
	defer func() { _ = raw.Close() }()
	conn, channels, requests, err := ssh.NewServerConn(raw, s.serverConfig())
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	s.handshakes.Add(1)
	s.work.Go(func() { ssh.DiscardRequests(requests) })
	for c := range channels {
		channel, reqs, err := c.Accept()
		if err != nil {
			return
		}
		s.work.Go(func() { s.session(channel, reqs) })
	}
}

func (s *server) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	for r := range requests {
		if r.Type != "exec" {
			_ = r.Reply(false, nil)
			continue
		}
		input := s.listenFirst(channel)
		_ = r.Reply(true, nil)
		var payload struct{ Line string }
		_ = ssh.Unmarshal(r.Payload, &payload)
		s.work.Go(func() {
			code := runShell(payload.Line, channel, input)
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(code)}))
			_ = channel.Close()
		})
	}
}

// listenFirst records input before the confirmation of the command's start, and
// returns the command's input. sshd loses an end of input that arrives so early.
// A channel wakes only one reader, so the command reads after listenFirst.
func (s *server) listenFirst(channel ssh.Channel) io.Reader {
	if s.lateReply == 0 {
		return channel
	}
	first, send := io.Pipe()
	came := make(chan struct{})
	s.work.Go(func() {
		var b [1]byte
		n, err := channel.Read(b[:])
		close(came)
		_, _ = send.Write(b[:n])
		_ = send.CloseWithError(err) // nil: the end of this part
	})
	select {
	case <-came:
		s.early.Store(true)
	case <-time.After(s.lateReply):
	}
	return io.MultiReader(first, channel)
}

func runShell(line string, channel ssh.Channel, input io.Reader) int {
	cmd := exec.CommandContext(context.Background(), "sh", "-c", line)
	in, err := cmd.StdinPipe()
	if err != nil {
		return 255
	}
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	if cmd.Start() != nil {
		return 255
	}
	go func() {
		_, _ = io.Copy(in, input)
		_ = in.Close()
	}()
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode()
}
