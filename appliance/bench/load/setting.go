package load

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"pgapp/appliance"
	"pgapp/appliance/rental"
)

// IsPagila refuses a database that is not Pagila, by its name.
func (b Base) IsPagila(ctx context.Context) error {
	c, err := b.connect(ctx, b.Write)
	if err != nil {
		return err
	}
	defer shut(ctx, c)
	return rental.IsPagila(ctx, c)
}

// changedSQL lists the settings that are not PostgreSQL's defaults, without the session's
// own and those of a database, since a bench works in one of its own.
const changedSQL = `SELECT name, current_setting(name) FROM pg_settings
WHERE source NOT IN ('default', 'override', 'client', 'session', 'database', 'database user') ORDER BY name`

// Setting fills in what the primary and this machine say of themselves.
func (b Base) Setting(ctx context.Context, s *appliance.BenchSetting) error {
	c, err := b.connect(ctx, b.Write)
	if err != nil {
		return err
	}
	defer shut(ctx, c)
	if err := c.QueryRow(ctx, "SELECT current_setting('server_version')").Scan(&s.PostgreSQL); err != nil {
		return fmt.Errorf("asking for the server's version: %w", err)
	}
	rows, err := c.Query(ctx, changedSQL)
	if err != nil {
		return fmt.Errorf("asking for the server's settings: %w", err)
	}
	s.Settings = map[string]string{}
	var name, value string
	if _, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error { s.Settings[name] = value; return nil }); err != nil {
		return fmt.Errorf("asking for the server's settings: %w", err)
	}
	return machine(s)
}

// machine fills in what this machine says of itself.
func machine(s *appliance.BenchSetting) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Errorf("asking for the kernel's release: %w", err)
	}
	s.Kernel, s.Cores = unix.ByteSliceToString(u.Release[:]), runtime.NumCPU()
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return fmt.Errorf("reading the processor's name: %w", err)
	}
	s.CPU = procField(cpu, "model name")
	memory, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return fmt.Errorf("reading the size of the memory: %w", err)
	}
	kib, err := strconv.Atoi(strings.TrimSuffix(procField(memory, "MemTotal"), " kB"))
	if err != nil {
		return fmt.Errorf("reading the size of the memory: %w", err)
	}
	s.MemoryMiB = kib / 1024
	return nil
}

// procField is the value of the first line of that name; a processor of another kind has
// no name.
func procField(text []byte, name string) string {
	for line := range bytes.Lines(text) {
		if k, v, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
