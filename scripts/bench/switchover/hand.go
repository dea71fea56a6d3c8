package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/jackc/pgx/v5"

	"pgapp/appliance"
	"pgapp/appliance/drill"
	"pgapp/scripts/drive"
)

// server is one of two servers of a cluster without pgapp.
type server struct {
	name, dir string
	port      int
	process   *exec.Cmd
}

// hand moves the primary between two servers as one does by hand who knows how: a
// checkpoint, a fast stop, and a promotion of the standby over a session that is open.
type hand struct {
	c       *drive.Cluster
	bin     string
	owner   *syscall.Credential
	writers int
	primary *server
	standby *server
}

// byHand returns the round by hand. The servers have the same programs and the same disk
// as those of the cluster, and end with its home.
func byHand(c *drive.Cluster, writers int) func(context.Context) (sample, error) {
	h := &hand{c: c, writers: writers}
	return func(ctx context.Context) (sample, error) {
		if h.primary == nil {
			if err := h.make(ctx); err != nil {
				return nil, err
			}
		}
		return h.round(ctx)
	}
}

// make makes the two servers.
func (h *hand) make(ctx context.Context) error {
	found, _ := filepath.Glob(filepath.Join(h.c.Home(), "postgres", "*", "usr", "lib", "postgresql", "*", "bin"))
	if len(found) == 0 {
		return errors.New("the home has no PostgreSQL")
	}
	h.bin = found[0]
	var st syscall.Stat_t
	if err := syscall.Stat(h.c.DataDir("node0"), &st); err != nil {
		return err
	}
	h.owner = &syscall.Credential{Uid: st.Uid, Gid: st.Gid}
	h.primary, h.standby = &server{name: "first"}, &server{name: "second"}
	for _, s := range []*server{h.primary, h.standby} {
		s.dir = filepath.Join(h.c.Home(), "hand-"+s.name)
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s.port = l.Addr().(*net.TCPAddr).Port
		if err := errors.Join(l.Close(), os.Mkdir(s.dir, 0o700), os.Chown(s.dir, int(st.Uid), int(st.Gid))); err != nil {
			return err
		}
	}
	if err := h.tool(ctx, "initdb", "-D", h.primary.dir, "-A", "trust", "-U", "postgres", "--locale=C"); err != nil {
		return err
	}
	if err := h.start(ctx, h.primary); err != nil {
		return err
	}
	if err := h.tool(ctx, "pg_basebackup", "-D", h.standby.dir, "-c", "fast", "-h", "127.0.0.1", "-p", strconv.Itoa(h.primary.port), "-U", "postgres"); err != nil {
		return err
	}
	return h.follow(ctx)
}

func (h *hand) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(h.bin, name), args...) //nolint:gosec,noctx // PostgreSQL's programs; servers outlive a round
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = h.owner
	}
	return cmd
}

func (h *hand) tool(_ context.Context, name string, args ...string) error {
	if out, err := h.command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// start starts the server. A standby follows the other one.
func (h *hand) start(ctx context.Context, s *server) error {
	other := h.primary
	if s == h.primary {
		other = h.standby
	}
	s.process = h.command("postgres", "-D", s.dir, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "port="+strconv.Itoa(s.port), "-c", fmt.Sprintf("primary_conninfo=host=127.0.0.1 port=%d user=postgres", other.port))
	if err := s.process.Start(); err != nil {
		return err
	}
	return drive.Until(ctx, s.name+" accepts", func(ctx context.Context) bool {
		return h.on(ctx, s, func(*pgx.Conn) error { return nil }) == nil
	})
}

// follow starts the standby, and waits until it streams.
func (h *hand) follow(ctx context.Context) error {
	if err := os.WriteFile(filepath.Join(h.standby.dir, "standby.signal"), nil, 0o600); err != nil {
		return err
	}
	if err := os.Chown(filepath.Join(h.standby.dir, "standby.signal"), int(h.owner.Uid), int(h.owner.Gid)); err != nil {
		return err
	}
	if err := h.start(ctx, h.standby); err != nil {
		return err
	}
	return drive.Until(ctx, "the standby streams", func(ctx context.Context) bool {
		n := 0
		err := h.on(ctx, h.primary, func(c *pgx.Conn) error {
			return c.QueryRow(ctx, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'").Scan(&n)
		})
		return err == nil && n == 1
	})
}

func (h *hand) on(ctx context.Context, s *server, do func(*pgx.Conn) error) error {
	c, err := pgx.Connect(ctx, fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", s.port))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	return do(c)
}

// round moves the primary once.
func (h *hand) round(ctx context.Context) (sample, error) {
	cfg := drill.Config{Database: "postgres", User: "postgres", Writers: h.writers}
	for _, s := range []*server{h.primary, h.standby} {
		cfg.Members = append(cfg.Members, appliance.HostPort{Member: s.name, Host: "127.0.0.1", Port: s.port})
	}
	run, err := drill.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer run.Stop()
	if err := drive.Written(ctx, run, rowsAround); err != nil {
		return nil, err
	}
	from := run.Since()
	if err := h.move(ctx); err != nil {
		return nil, err
	}
	command := run.Since() - from
	if err := drive.Written(ctx, run, rowsAround); err != nil {
		return nil, err
	}
	out := sample{"outage": run.Stop().Outage(from, run.Since()), "command": command}
	return out, h.follow(ctx)
}

// move stops the primary and promotes the standby.
func (h *hand) move(ctx context.Context) error {
	return h.on(ctx, h.standby, func(c *pgx.Conn) error {
		if err := h.on(ctx, h.primary, func(c *pgx.Conn) error { _, err := c.Exec(ctx, "CHECKPOINT"); return err }); err != nil {
			return err
		}
		if err := h.primary.process.Process.Signal(syscall.SIGINT); err != nil {
			return err
		}
		if err := h.primary.process.Wait(); err != nil {
			return err
		}
		h.primary, h.standby = h.standby, h.primary
		_, err := c.Exec(ctx, "SELECT pg_promote(true)")
		return err
	})
}
