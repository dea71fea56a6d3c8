package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"pgapp/appliance"
)

const (
	// sshd's MaxSessions is 10; two sessions are reserved for killing commands.
	maxSessions = 8
	maxKills    = 2
	// defaultHandshake is long because emulated guests are slow.
	defaultHandshake = 30 * time.Second
	dialTimeout      = 10 * time.Second
	keepAliveEvery   = 5 * time.Second
	// keepAliveGrace is how long a machine may leave a keepalive unanswered.
	keepAliveGrace = 20 * time.Second
)

// Config says how to reach one machine.
type Config struct {
	// Address is host:port.
	Address string
	// User logs in with Key, an OpenSSH private key.
	User string
	Key  appliance.Secret
	// HostKey is the only host key that is accepted, as a line of authorized_keys.
	HostKey string
	// Dial makes the connection, from the machine that reaches Address. It is required.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Handshake limits one handshake; 0 is 30 s.
	Handshake time.Duration
}

// Client keeps one connection to a machine and dials again after a loss. It is
// safe for concurrent use. Close is final.
type Client struct {
	cfg      Config
	signer   ssh.Signer
	hostKey  ssh.PublicKey
	sessions chan struct{}
	kills    chan struct{}
	// turn guards conn and closed; it is a channel so that ctx can end the wait.
	turn   chan struct{}
	conn   *connection
	closed bool
	work   sync.WaitGroup
	// killLimit is how long a command may outlive its context.
	killLimit time.Duration
}

// connection is one established connection. done closes when the connection ends.
type connection struct {
	client *ssh.Client
	done   chan struct{}
}

// session is an SSH session and its connection.
type session struct {
	*ssh.Session
	conn *connection
}

func (c *connection) alive() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Client, error) {
	signer, err := parsePrivate(cfg.Key)
	if err != nil {
		return nil, err
	}
	hostKey, err := parsePublic(cfg.HostKey)
	if err != nil {
		return nil, fmt.Errorf("the host key of %s: %w", cfg.Address, err)
	}
	if cfg.Dial == nil {
		return nil, fmt.Errorf("no way to dial %s is given", cfg.Address)
	}
	if hostKey.Type() != ssh.KeyAlgoED25519 {
		return nil, fmt.Errorf("the host key of %s is %s, not %s", cfg.Address, hostKey.Type(), ssh.KeyAlgoED25519)
	}
	if cfg.Handshake == 0 {
		cfg.Handshake = defaultHandshake
	}
	return &Client{
		cfg: cfg, signer: signer, hostKey: hostKey,
		sessions: make(chan struct{}, maxSessions), kills: make(chan struct{}, maxKills), turn: make(chan struct{}, 1),
		killLimit: defaultKillLimit,
	}, nil
}

// Address is the machine's host:port.
func (c *Client) Address() string { return c.cfg.Address }

// Connect dials unless a connection exists. A repeat does nothing.
func (c *Client) Connect(ctx context.Context) error {
	_, err := c.connect(ctx, dialTimeout)
	return err
}

// Close ends the connection with all its commands, and waits for the client's
// goroutines. A repeat does nothing.
func (c *Client) Close() {
	c.turn <- struct{}{}
	c.closed = true
	if c.conn != nil {
		_ = c.conn.client.Close()
	}
	<-c.turn
	c.work.Wait()
}

// Drop ends the connection, as after a reboot of the machine; the next command
// makes a new one.
func (c *Client) Drop() {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if c.conn != nil {
		_ = c.conn.client.Close()
		c.conn = nil
	}
}

// connect returns the kept connection, or dials. dial limits the time until the
// machine accepts the TCP connection.
func (c *Client) connect(ctx context.Context, dial time.Duration) (*connection, error) {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, unreachable(c.cfg.Address, ReasonTimeout, ctx.Err())
	}
	defer func() { <-c.turn }()
	if c.closed {
		return nil, unreachable(c.cfg.Address, ReasonLost, net.ErrClosed)
	}
	if c.conn != nil && c.conn.alive() {
		return c.conn, nil
	}
	raw, err := c.dial(ctx, dial)
	if err != nil {
		return nil, err
	}
	client, err := c.handshake(ctx, raw)
	if err != nil {
		return nil, err
	}
	conn := &connection{client: client, done: make(chan struct{})}
	c.work.Go(func() {
		_ = client.Wait()
		close(conn.done)
	})
	c.work.Go(conn.keepAlive)
	c.conn = conn
	return conn, nil
}

func (c *Client) dial(ctx context.Context, limit time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	raw, err := c.cfg.Dial(ctx, "tcp", c.cfg.Address)
	if err != nil {
		return nil, unreachable(c.cfg.Address, classify(err, ""), err)
	}
	return raw, nil
}

// handshake authenticates. The key exchange comes first in the protocol, so the
// host key is checked before the client sends credentials.
func (c *Client) handshake(ctx context.Context, raw net.Conn) (*ssh.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Handshake)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	var banner string
	var wrongKey bool
	fixed := ssh.FixedHostKey(c.hostKey)
	conn, channels, requests, err := ssh.NewClientConn(raw, c.cfg.Address, &ssh.ClientConfig{
		User:              c.cfg.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(c.signer)},
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
		HostKeyCallback: func(hostname string, remote net.Addr, key ssh.PublicKey) error {
			if fixed(hostname, remote, key) != nil {
				wrongKey = true
				return errWrongHostKey
			}
			return nil
		},
		BannerCallback: func(message string) error {
			banner = message
			return nil
		},
	})
	if !stop() && err == nil {
		_ = conn.Close()
		err = ctx.Err()
	}
	if err == nil {
		return ssh.NewClient(conn, channels, requests), nil
	}
	_ = raw.Close()
	switch {
	case wrongKey:
		return nil, unreachable(c.cfg.Address, ReasonHostKey, errWrongHostKey)
	case ctx.Err() != nil:
		return nil, unreachable(c.cfg.Address, ReasonTimeout, ctx.Err())
	}
	return nil, unreachable(c.cfg.Address, classify(err, banner), err)
}

// keepAlive closes the connection when the machine stops answering, so that no
// command waits for a lost machine forever.
func (c *connection) keepAlive() {
	ticker := time.NewTicker(keepAliveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-ticker.C:
		}
		dead := time.AfterFunc(keepAliveGrace, func() { _ = c.client.Close() })
		_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
		dead.Stop()
		if err != nil {
			_ = c.client.Close()
			return
		}
	}
}

// open opens a session. If the kept connection is lost, open dials once more;
// the command has not begun, so a second attempt is safe.
func (c *Client) open(ctx context.Context) (session, error) {
	for attempt := 0; ; attempt++ {
		conn, err := c.connect(ctx, dialTimeout)
		if err != nil {
			return session{}, err
		}
		s, err := c.openOn(ctx, conn)
		if err == nil {
			return session{s, conn}, nil
		}
		var refused *ssh.OpenChannelError
		if ctx.Err() != nil || attempt > 0 || errors.As(err, &refused) {
			return session{}, unreachable(c.cfg.Address, ReasonLost, err)
		}
		_ = conn.client.Close()
		<-conn.done
	}
}

// openOn returns when ctx or the connection ends. NewSession alone may wait
// forever if the connection closes during the call. A session that opens too
// late is closed.
func (c *Client) openOn(ctx context.Context, conn *connection) (*ssh.Session, error) {
	type opened struct {
		session *ssh.Session
		err     error
	}
	result := make(chan opened)
	go func() {
		s, err := conn.client.NewSession()
		select {
		case result <- opened{s, err}:
			return
		case <-ctx.Done():
		case <-conn.done:
		}
		if err == nil {
			_ = s.Close()
		}
	}()
	select {
	case r := <-result:
		return r.session, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-conn.done:
		return nil, net.ErrClosed
	}
}
