package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"pgapp/appliance"
)

// Configure writes all of the member's configuration files: pgapp.conf and its
// include in postgresql.conf, pg_hba.conf, pg_ident.conf, the password file and
// standby.signal. It removes the parameters that pgapp owns from
// postgresql.auto.conf. Configure must run before every start, since a clone or
// a rewind copies another member's identity. A repeat is safe; a running server
// reads the files at the next [ReloadConfig].
//
// If the user has set parameters, PostgreSQL checks the new pgapp.conf before
// it replaces the old file. A refusal is a [appliance.Problem] with id
// postgres-config, and leaves the member's files unchanged.
//
// Configure never removes standby.signal: only a promotion makes a standby a primary,
// since only a promotion begins a timeline.
func Configure(ctx context.Context, sh Shell, c Config) error {
	what := fmt.Sprintf("configuring member %q", c.Member)
	l := sh.Layout()
	files, err := renderFiles(l, c)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	// First, so that after a crash a standby never starts as a primary.
	if c.Primary != nil {
		if err := ensureEmpty(ctx, sh, path.Join(l.DataDir, "standby.signal")); err != nil {
			return failure(appliance.ErrPostgresConfig, err, "%s: writing standby.signal", what)
		}
	}
	// PostgreSQL can refuse only the user's parameters.
	if err := installConf(ctx, sh, files.conf, len(c.Parameters) > 0); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	for _, f := range files.rest {
		// An unreadable file is replaced.
		if old, err := sh.ReadFile(ctx, f.path); err == nil && bytes.Equal(old, f.data) {
			continue
		}
		if err := sh.WriteFile(ctx, f.path, f.data, 0o600); err != nil {
			return failure(appliance.ErrPostgresConfig, err, "%s: writing %s", what, path.Base(f.path))
		}
	}
	// Always, for the mode: libpq ignores a file that others may read.
	if err := sh.WriteFile(ctx, path.Join(l.ConfDir, PassFile), files.pass, 0o600); err != nil {
		return failure(appliance.ErrPostgresConfig, err, "%s: writing %s", what, PassFile)
	}
	for name, render := range map[string]func([]byte) []byte{"postgresql.conf": renderMainConf, "postgresql.auto.conf": renderAutoConf} {
		if err := rewrite(ctx, sh, path.Join(l.DataDir, name), render); err != nil {
			return failure(appliance.ErrPostgresConfig, err, "%s: writing %s", what, name)
		}
	}
	if err := removeFiles(ctx, sh, []string{path.Join(l.DataDir, "recovery.signal")}); err != nil {
		return failure(appliance.ErrPostgresConfig, err, "%s: removing recovery.signal", what)
	}
	return nil
}

func ensureEmpty(ctx context.Context, sh Shell, name string) error {
	if old, err := sh.ReadFile(ctx, name); err == nil && len(old) == 0 {
		return nil
	}
	return sh.WriteFile(ctx, name, nil, 0o600)
}

// removeFiles removes the files that exist.
func removeFiles(ctx context.Context, sh Shell, names []string) error {
	var there []string
	for _, n := range names {
		_, err := sh.ReadFile(ctx, n)
		switch {
		case err == nil:
			there = append(there, n)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if len(there) == 0 {
		return nil
	}
	_, err := sh.Run(ctx, appliance.Command{Argv: append([]string{"rm", "-f", "--"}, there...)})
	return err
}

type file struct {
	path string
	data []byte
}

type renderedFiles struct {
	conf []byte
	rest []file // in the data directory too
	pass []byte
}

func renderFiles(l appliance.Layout, c Config) (renderedFiles, error) {
	conf, err := renderConf(l, c)
	if err != nil {
		return renderedFiles{}, err
	}
	hba, err := renderHBA(c)
	if err != nil {
		return renderedFiles{}, err
	}
	ident, err := renderIdent(l)
	if err != nil {
		return renderedFiles{}, err
	}
	pass, err := renderPassFile(c.ReplicatorPassword)
	if err != nil {
		return renderedFiles{}, err
	}
	return renderedFiles{conf: conf, pass: pass, rest: []file{
		{path.Join(l.DataDir, "pg_hba.conf"), hba},
		{path.Join(l.DataDir, "pg_ident.conf"), ident},
	}}, nil
}

// rewrite replaces a file if render changes it. A missing file counts as empty.
func rewrite(ctx context.Context, sh Shell, name string, render func([]byte) []byte) error {
	old, err := sh.ReadFile(ctx, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if fresh := render(old); !bytes.Equal(old, fresh) {
		return sh.WriteFile(ctx, name, fresh, 0o600)
	}
	return nil
}

// freshConf is the path of a new configuration file in the data directory. Every
// attempt has its own file, since the script of a killed daemon may still run.
func freshConf(l appliance.Layout) string {
	return path.Join(l.DataDir, ConfFile+"."+strings.ToLower(rand.Text()))
}

// clearConf removes the files of attempts that ended without removing them.
const clearConf = `find "$2" -maxdepth 1 -name '` + ConfFile + `.*' -mmin +60 -delete
`

// installScript has PostgreSQL ($1) check the new pgapp.conf ($3) as the whole
// configuration of the data directory $2, and renames the file to $4.
const installScript = clearConf + `"$1" -D "$2" -C port -c config_file="$3" >/dev/null || { rm -f -- "$3"; exit 1; }
exec mv -T -- "$3" "$4"`

func installConf(ctx context.Context, sh Shell, conf []byte, check bool) error {
	l := sh.Layout()
	target := path.Join(l.DataDir, ConfFile)
	if old, err := sh.ReadFile(ctx, target); err == nil && bytes.Equal(old, conf) {
		return nil
	}
	if !check {
		return failureOrNil(sh.WriteFile(ctx, target, conf, 0o600), "writing %s", ConfFile)
	}
	fresh := freshConf(l)
	if err := sh.WriteFile(ctx, fresh, conf, 0o600); err != nil {
		return failure(appliance.ErrPostgresConfig, err, "writing %s", ConfFile)
	}
	_, err := script(ctx, sh, installScript, program(l, "postgres"), l.DataDir, fresh, target)
	return confProblem(err)
}

// confProblem makes the problem of PostgreSQL's refusal; nil stays nil.
func confProblem(err error) error {
	var exit *appliance.ExitError
	if !errors.As(err, &exit) {
		return failureOrNil(err, "checking %s", ConfFile)
	}
	why := confComplaint(exit.Stderr)
	if why == "" {
		return failure(appliance.ErrPostgresConfig, err, "checking %s", ConfFile)
	}
	return appliance.NewProblem(appliance.ErrPostgresConfig, "PostgreSQL refuses the configuration: %s", why).
		WithHint("correct the parameter in the cluster's spec, then run 'pgapp up' again").
		WithDetail(appliance.LastLines(exit.Stderr, 20))
}

func failureOrNil(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return failure(appliance.ErrPostgresConfig, err, format, args...)
}

// confComplaint returns PostgreSQL's first error about a configuration.
func confComplaint(stderr string) string {
	for line := range strings.Lines(stderr) {
		for _, level := range []string{"LOG:", "ERROR:", "FATAL:"} {
			if _, text, ok := strings.Cut(line, level); ok {
				return regexp.MustCompile(`\bpgapp\.conf\.[a-z2-7]+`).ReplaceAllString(strings.TrimSpace(text), ConfFile)
			}
		}
	}
	return ""
}

// checkFilesSQL lists the errors in the present files. A parameter that waits
// for a restart is no error, whether it changed or left the files; only
// PostgreSQL's message, always in English here, identifies the latter.
const checkFilesSQL = `SELECT coalesce(file_name, 'pg_hba.conf') || ', line ' || coalesce(line_number::text, '?') || ': ' || error
FROM pg_hba_file_rules WHERE error IS NOT NULL
UNION ALL
SELECT coalesce(file_name, 'pg_ident.conf') || ', line ' || coalesce(line_number::text, '?') || ': ' || error
FROM pg_ident_file_mappings WHERE error IS NOT NULL
UNION ALL
SELECT coalesce(sourcefile, 'postgresql.conf') || ', line ' || coalesce(sourceline::text, '?') || ': ' || coalesce(name || ': ', '') || error
FROM pg_file_settings WHERE error IS NOT NULL AND error <> 'setting could not be applied'
	AND NOT (sourcefile IS NULL AND error LIKE 'parameter "%" cannot be changed without restarting the server')
LIMIT 10;
`

// ReloadConfig checks the files and makes the running server reload them:
// pg_reload_conf() alone returns true even for a bad pg_hba.conf, with which the
// next start fails. An error in the files is a [appliance.Problem] with id
// postgres-config that names the line; the server then keeps its configuration.
func ReloadConfig(ctx context.Context, sh Shell, port int) error {
	out, err := SuperuserSQL(ctx, sh, port, "postgres", checkFilesSQL)
	if err != nil {
		return fmt.Errorf("checking the configuration files: %w", err)
	}
	if out != "" {
		first, _, _ := strings.Cut(out, "\n")
		return appliance.NewProblem(appliance.ErrPostgresConfig, "PostgreSQL refuses its configuration files: %s", first).
			WithHint("correct the line; the server still runs with its previous configuration").WithDetail(out)
	}
	if _, err := SuperuserSQL(ctx, sh, port, "postgres", "SELECT pg_reload_conf();\n"); err != nil {
		return fmt.Errorf("reloading the configuration: %w", err)
	}
	return nil
}

// followScript makes the server of the data directory $1 reload its files, which
// wakes a standby that waits for WAL.
const followScript = `set -eu
pid=$(head -n 1 -- "$1/postmaster.pid")
[ "/proc/$pid/cwd" -ef "$1" ]
kill -HUP "$pid"`

// Follow makes a running standby connect to its primary at once, also one that was
// configured with Apart. A repeat does nothing.
func Follow(ctx context.Context, sh Shell, c Config) error { return FollowBy(ctx, sh, c, nil) }

// FollowBy is [Follow] with a way to make the server reload its files that needs no command
// on the member's machine, as a session to the server: in a guest each command costs a login
// and several processes. If reload is nil, fails or takes long, the server gets a signal.
func FollowBy(ctx context.Context, sh Shell, c Config, reload func(context.Context) error) error {
	c.Apart = false
	return reconfigure(ctx, sh, c, reload)
}

// reconfigure writes the running member's pgapp.conf and makes the server read it.
func reconfigure(ctx context.Context, sh Shell, c Config, reload func(context.Context) error) error {
	what := fmt.Sprintf("configuring the running member %q", c.Member)
	l := sh.Layout()
	conf, err := renderConf(l, c)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	// Compared with what is there only where it can't be written, as on a full disk: to a guest
	// that is a round trip of its own, and during a change of primary the text nearly always
	// differs.
	target := path.Join(l.DataDir, ConfFile)
	if err := sh.WriteFile(ctx, target, conf, 0o600); err != nil {
		if old, unread := sh.ReadFile(ctx, target); unread != nil || !bytes.Equal(old, conf) {
			return failure(appliance.ErrPostgresConfig, err, "%s: writing %s", what, ConfFile)
		}
	}
	if reload != nil {
		asked, cancel := context.WithTimeout(ctx, answerLimit)
		err := reload(asked)
		cancel()
		if err == nil {
			return nil
		}
	}
	if _, err := script(ctx, sh, followScript, l.DataDir); err != nil {
		return failure(appliance.ErrPostgresStart, err, "%s", what)
	}
	return nil
}
