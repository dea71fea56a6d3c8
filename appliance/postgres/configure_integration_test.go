//go:build integration

package postgres_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
	"pgapp/appliance/wait"
)

func TestConfigureRefusesBadParameter(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	m, ctx := c.members[0], t.Context()
	for _, k := range []struct{ name, value, want string }{
		{"work_mem", "much", `invalid value for parameter "work_mem": "much"`},
		{"no_such_parameter", "1", `unrecognized configuration parameter "no_such_parameter" in file`},
		{"max_connections", "-1", "max_connections"},
	} {
		cfg := c.config(0)
		cfg.Parameters = map[string]string{k.name: k.value}
		err := postgres.Configure(ctx, m, cfg)
		if !appliance.IsProblem(err, appliance.ErrPostgresConfig) || !strings.Contains(err.Error(), k.want) {
			t.Errorf("%s = %s: got %v, want %q", k.name, k.value, err, k.want)
		}
	}
	must(t, postgres.ReloadConfig(ctx, m, m.port))

	hba := m.layout.DataDir + "/pg_hba.conf"
	old, err := os.ReadFile(hba)
	must(t, err)
	must(t, m.WriteFile(ctx, hba, append([]byte("host all nonsense\n"), old...), 0o600))
	err = postgres.ReloadConfig(ctx, m, m.port)
	if !appliance.IsProblem(err, appliance.ErrPostgresConfig) || !strings.Contains(err.Error(), "pg_hba.conf, line 1: ") {
		t.Errorf("got %v", err)
	}
	_ = c.control(t, 0, "postgres") // the server still has its rules
	must(t, postgres.Configure(ctx, m, c.config(0)))
	must(t, postgres.ReloadConfig(ctx, m, m.port))
	m.stop(t)
	m.start(t)
}

// beforeCheck is a shell that calls f once, before PostgreSQL checks a written
// configuration file.
type beforeCheck struct {
	postgres.Shell
	f func()
}

func (b *beforeCheck) Run(ctx context.Context, c appliance.Command) (appliance.Result, error) {
	check := slices.ContainsFunc(c.Argv, func(a string) bool { return strings.Contains(a, "/pgapp.conf.") })
	if f := b.f; check && f != nil {
		b.f = nil
		f()
	}
	return b.Shell.Run(ctx, c)
}

// The script of a killed daemon ends beside its successor's, and removes its file.
func TestConfigurationChecksDontShareFiles(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	m, ctx := c.members[0], t.Context()
	cfg := c.config(0)
	cfg.Parameters = map[string]string{"work_mem": "16MB"}
	other := c.config(0)
	other.Parameters = map[string]string{"work_mem": "17MB"}
	for name, f := range map[string]func(postgres.Shell, postgres.Config) error{
		"check":     func(sh postgres.Shell, cfg postgres.Config) error { return postgres.CheckConfig(ctx, sh, cfg) },
		"configure": func(sh postgres.Shell, cfg postgres.Config) error { return postgres.Configure(ctx, sh, cfg) },
	} {
		if err := f(&beforeCheck{m, func() { must(t, f(m, other)) }}, cfg); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	left, err := filepath.Glob(m.layout.DataDir + "/pgapp.conf.*")
	if err != nil || len(left) > 0 {
		t.Errorf("%q is left, %v", left, err)
	}
}

func TestConfigureSetsRoleOfMember(t *testing.T) {
	t.Parallel()
	c := &cluster{secrets: appliance.GenerateSecrets()}
	m, ctx := newMachine(t, "127.0.0.1"), t.Context()
	c.members = []*machine{m, m}
	must(t, postgres.Initdb(ctx, m, postgres.InitOptions{}))
	must(t, postgres.Initdb(ctx, m, postgres.InitOptions{})) // a repeat
	signal := m.layout.DataDir + "/standby.signal"
	must(t, os.WriteFile(m.layout.DataDir+"/recovery.signal", nil, 0o600))
	for range 2 {
		must(t, postgres.Configure(ctx, m, c.config(1)))
	}
	d, err := postgres.InspectDataDir(ctx, m)
	if err != nil || !d.InRecovery || !d.Initialised || d.Running || d.Timeline != 1 {
		t.Errorf("%+v %v", d, err)
	}
	if f, err := postgres.ReadControlFile(ctx, m); err != nil || f.SystemIdentifier != d.SystemIdentifier || !f.Closed {
		t.Errorf("pg_control of a new directory reads %+v, %v; pg_controldata says %q, %s", f, err, d.State, d.SystemIdentifier)
	}
	for range 2 {
		must(t, postgres.Configure(ctx, m, c.config(0)))
	}
	if _, err := os.Stat(m.layout.DataDir + "/recovery.signal"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("recovery.signal is left: %v", err)
	}
	if _, err := os.Stat(signal); err != nil { // only a promotion makes a standby a primary
		t.Errorf("standby.signal is gone: %v", err)
	}
	st, err := os.Stat(m.layout.ConfDir + "/" + postgres.PassFile)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("passfile: %v %v", st, err)
	}
}

func TestWaitAcceptingReportsFailedStart(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	other := &cluster{secrets: c.secrets, members: []*machine{newMachine(t, "127.0.0.1")}}
	m := other.members[0]
	must(t, postgres.Initdb(ctx, m, postgres.InitOptions{SyncLater: true}))

	// The port is another server's, which answers in this one's place.
	m.port = c.members[0].port
	must(t, postgres.Configure(ctx, m, other.config(0)))
	m.launch(t)
	err := postgres.WaitAccepting(ctx, m, m.host, m.port)
	if !appliance.IsProblem(err, appliance.ErrHostPortTaken) || appliance.AsProblem(err).Detail == "" {
		t.Errorf("got %v", err)
	}

	m.port = freePort(t, m.host)
	must(t, os.Truncate(m.layout.LogFile, 0))
	cfg := other.config(0)
	cfg.Parameters = map[string]string{"shared_preload_libraries": "nowhere"}
	must(t, postgres.Configure(ctx, m, cfg))
	m.launch(t)
	err = postgres.WaitAccepting(ctx, m, m.host, m.port)
	if !appliance.IsProblem(err, appliance.ErrPostgresStart) || !strings.Contains(err.Error(), `could not access file "nowhere"`) {
		t.Errorf("got %v", err)
	}

	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	m.ended = make(chan struct{}) // as if the server ran and didn't answer
	if err := postgres.WaitAccepting(short, m, m.host, m.port); !appliance.IsProblem(err, appliance.ErrPostgresStart) {
		t.Errorf("got %v", err)
	}
	close(m.ended)
}

// TestPasswordsAreNotLogged looks for the passwords in everything that a
// cluster's making leaves behind, and in every command's arguments.
func TestPasswordsAreNotLogged(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	ctx := t.Context()
	if _, err := postgres.Connect(ctx, c.members[0].host, c.members[0].port, "postgres", appliance.NewSecret("canary-wrong")); err == nil ||
		strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v", err)
	}
	// An error in the middle of the roles must not show what was sent.
	c.sql(t, 0, "postgres", "DROP TABLE pgapp.marker; CREATE TYPE pgapp.marker AS (id int);")
	err := postgres.EnsureRoles(ctx, c.members[0], c.members[0].port, c.secrets, "films")
	if err == nil || strings.Contains(appliance.AsProblem(err).Detail+err.Error(), "SCRAM") {
		t.Errorf("got %v", err)
	}
	must(t, c.control(t, 0, "postgres").Checkpoint(ctx))
	for i, m := range c.members {
		for key, secret := range c.secrets.Values {
			for _, arg := range m.ran {
				if strings.Contains(arg, secret.Reveal()) {
					t.Errorf("password %s of member %d was in a command", key, i)
				}
			}
		}
		err := filepath.WalkDir(filepath.Dir(m.layout.DataDir), func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || p == filepath.Join(m.layout.ConfDir, postgres.PassFile) {
				return nil // files come and go below a running server
			}
			b, err := os.ReadFile(p)
			if err != nil {
				return nil
			}
			for key, secret := range c.secrets.Values {
				if strings.Contains(string(b), secret.Reveal()) {
					t.Errorf("password %s is in %s", key, p)
				}
			}
			if p == m.layout.LogFile && strings.Contains(string(b), "SCRAM-SHA-256$") {
				t.Errorf("a verifier is in %s", p)
			}
			return nil
		})
		must(t, err)
	}
}

// fullDisk is a machine on which nothing can be written.
type fullDisk struct{ postgres.Shell }

func (fullDisk) WriteFile(context.Context, string, []byte, fs.FileMode) error {
	return &fs.PathError{Op: "write", Path: postgres.ConfFile, Err: syscall.ENOSPC}
}

func TestFollowOnFullDiskNeedsTheSameConfiguration(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	m, ctx := c.members[0], t.Context()
	must(t, postgres.Follow(ctx, m, c.config(0)))
	must(t, postgres.Follow(ctx, fullDisk{m}, c.config(0)))
	other := c.config(0)
	other.FreeReplay = true
	if err := postgres.Follow(ctx, fullDisk{m}, other); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("another configuration on a full disk: %v", err)
	}
}

// mute is a machine that runs no commands.
type mute struct{ postgres.Shell }

var errMute = errors.New("no command runs here")

func (mute) Run(context.Context, appliance.Command) (appliance.Result, error) {
	return appliance.Result{}, errMute
}

func TestReloadInSessionNeedsNoCommand(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	m, ctx := c.members[0], t.Context()
	control := c.control(t, 0, postgres.MaintenanceDatabase)
	must(t, postgres.Detach(ctx, mute{m}, c.config(0), control))
	conf := c.config(0)
	conf.Parameters = map[string]string{"work_mem": "7MB"}
	must(t, postgres.FollowBy(ctx, mute{m}, conf, control.Reload))
	shows(t, c, "7MB")
	failed := func(context.Context) error { return errMute }
	if err := postgres.FollowBy(ctx, mute{m}, c.config(0), failed); !errors.Is(err, errMute) {
		t.Errorf("without a session and a command: %v", err)
	}
	conf.Parameters = map[string]string{"work_mem": "9MB"}
	must(t, postgres.FollowBy(ctx, m, conf, failed))
	shows(t, c, "9MB")
}

// shows waits until new sessions have that work_mem: a reload is not waited for.
func shows(t *testing.T, c *cluster, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got string
	err := wait.Until(ctx, 50*time.Millisecond, func(context.Context) (bool, error) {
		got = c.sql(t, 0, "postgres", "SHOW work_mem")
		return got == want, nil
	})
	if err != nil {
		t.Fatalf("work_mem is %s, want %s: %v", got, want, err)
	}
}
