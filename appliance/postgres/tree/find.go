package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgapp/appliance"
)

const (
	major = 17
	// minorFloor is the oldest minor release that pgapp accepts.
	minorFloor = 10

	probeTimeout = 10 * time.Second
)

// ErrMissing means that no PostgreSQL was found: none named, none on the host,
// none in the program.
var ErrMissing = errors.New("no PostgreSQL " + strconv.Itoa(major) + " (" + floor() + " or newer) was found")

func floor() string { return fmt.Sprintf("%d.%d", major, minorFloor) }

// Source is the origin of the programs.
type Source string

// The sources, in the order of the search.
const (
	SourceFlag Source = "flag" // the user named the directory
	SourceHost Source = "host" // installed on this machine
	SourceTree Source = "tree" // the tree in the program
)

// Search lists the places to search.
type Search struct {
	// BinDir is the directory that the user named; if set, only it is searched.
	BinDir string
	// HostDirs are the directories to search on this machine; nil means the
	// usual ones and those in PATH.
	HostDirs []string
	// Archive is embed/pgtree's FS, or nil.
	Archive fs.FS
	// UnpackDir is the directory for the archive's tree.
	UnpackDir string
}

// Find returns the PostgreSQL programs to use: those that the user named, else
// those of the host if they are complete and new enough, else those of the tree,
// which Find unpacks if necessary. A repeat is safe.
//
// The error is an *appliance.Problem: ErrPostgresUnsuitable for an unsuitable
// named directory, ErrPostgresMissing, wrapping ErrMissing, if no programs were
// found, or an error of Unpack.
func Find(ctx context.Context, s Search) (Binaries, error) {
	if s.BinDir != "" {
		return named(ctx, s.BinDir)
	}
	dirs := s.HostDirs
	if dirs == nil {
		dirs = hostDirs(ctx)
	}
	var skipped []string
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "postgres")); err != nil {
			continue
		}
		version, err := Probe(ctx, dir)
		if err == nil {
			return Binaries{Dir: dir, Version: version, Source: SourceHost, Skipped: skipped}, nil
		}
		if ctx.Err() != nil {
			return Binaries{}, fmt.Errorf("looking for PostgreSQL: %w", ctx.Err())
		}
		skipped = append(skipped, err.Error())
	}
	dir, version, err := Unpack(ctx, s.Archive, s.UnpackDir)
	if errors.Is(err, ErrAbsent) {
		return Binaries{}, missing(skipped)
	}
	if err != nil {
		return Binaries{}, err
	}
	return Binaries{Dir: dir, Version: version, Source: SourceTree, Skipped: skipped}, nil
}

func named(ctx context.Context, dir string) (Binaries, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Binaries{}, fmt.Errorf("looking for PostgreSQL in %q: %w", dir, err)
	}
	version, err := Probe(ctx, abs)
	if ctx.Err() != nil {
		return Binaries{}, fmt.Errorf("looking for PostgreSQL in %q: %w", dir, ctx.Err())
	}
	if err != nil {
		return Binaries{}, appliance.NewProblem(appliance.ErrPostgresUnsuitable, "--postgres-bin: %w", err).
			WithHint("name the directory with the programs of a PostgreSQL %d, %s or newer, or leave --postgres-bin out", major, floor())
	}
	return Binaries{Dir: abs, Version: version, Source: SourceFlag}, nil
}

func missing(skipped []string) error {
	return appliance.NewProblem(appliance.ErrPostgresMissing, "%w, and this program was built without one", ErrMissing).
		WithHint("build pgapp with `make` on a machine with apt, which puts PostgreSQL into it, "+
			"or install PostgreSQL %d and name its programs with --postgres-bin DIR", major).
		WithDetail(strings.Join(skipped, "\n"))
}

// hostDirs lists the directories of distributions, PGDG's packages and
// PostgreSQL's own make install, then those in PATH.
func hostDirs(ctx context.Context) []string {
	dirs := []string{"/usr/lib/postgresql/17/bin", "/usr/pgsql-17/bin", "/usr/local/pgsql/bin"}
	if path, err := exec.LookPath("pg_config"); err == nil {
		if out, err := run(ctx, path, "--bindir"); err == nil {
			dirs = append(dirs, strings.TrimSpace(out))
		}
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	dirs = slices.DeleteFunc(dirs, func(dir string) bool { return !filepath.IsAbs(dir) })
	var unique []string
	for _, dir := range dirs {
		if !slices.Contains(unique, dir) {
			unique = append(unique, dir)
		}
	}
	return unique
}

// Programs returns the names of the programs that pgapp needs.
func Programs() []string {
	return []string{
		"postgres", "initdb", "pg_ctl", "psql", "pg_basebackup", "pg_rewind", "pg_controldata",
		"pg_resetwal", "pg_isready", "pg_dump", "pg_restore", "pg_verifybackup", "pg_combinebackup",
		"pg_receivewal", "pg_waldump",
	}
}

// Probe returns the version of the PostgreSQL programs in dir. The error says why
// they are not a complete PostgreSQL 17, 17.10 or newer.
func Probe(ctx context.Context, dir string) (string, error) {
	if info, err := os.Stat(dir); err != nil {
		return "", err
	} else if !info.IsDir() {
		return "", fmt.Errorf("%s is not a directory", dir)
	}
	var absent []string
	for _, name := range Programs() {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			absent = append(absent, name)
		}
	}
	if slices.Contains(absent, "postgres") {
		return "", fmt.Errorf("%s lacks %s", dir, strings.Join(absent, ", "))
	}
	out, err := run(ctx, filepath.Join(dir, "postgres"), "--version")
	if err != nil {
		return "", err
	}
	version, err := parseVersion(out)
	if err != nil {
		return "", fmt.Errorf("%s: %w", dir, err)
	}
	if len(absent) > 0 {
		return "", fmt.Errorf("%s (PostgreSQL %s) lacks %s", dir, version, strings.Join(absent, ", "))
	}
	return version, nil
}

// parseVersion reads the answer of postgres --version, such as
// "postgres (PostgreSQL) 17.12 (Debian 17.12-0+deb13u1)".
func parseVersion(out string) (string, error) {
	out = strings.TrimSpace(out)
	match := regexp.MustCompile(`^postgres \(PostgreSQL\) (\d{1,3})\.(\d{1,3})( |$)`).FindStringSubmatch(out)
	if match == nil {
		// Development and beta versions too: "17beta1", "18devel".
		return "", fmt.Errorf("%.80q is not a release of PostgreSQL %d", out, major)
	}
	version := match[1] + "." + match[2]
	if match[1] != strconv.Itoa(major) {
		return "", fmt.Errorf("it is PostgreSQL %s, not %d", version, major)
	}
	if minor, _ := strconv.Atoi(match[2]); minor < minorFloor {
		return "", fmt.Errorf("it is PostgreSQL %s, older than %s", version, floor())
	}
	return version, nil
}

// run returns a host program's output, in English; its time is limited.
func run(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("running %s %s: %w", program, strings.Join(args, " "), err)
	}
	return string(out), nil
}
