package cli

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"pgapp/appliance"
)

// connectTimeoutSeconds keeps a client from waiting for a dead member.
const connectTimeoutSeconds = "3"

func (a *app) urlCommand() *cobra.Command {
	var role, driver string
	var reveal bool
	cmd := &cobra.Command{
		Use: "url", Aliases: []string{"uri", "dsn"}, Short: "Print how to connect to the database",
		Long: `Print a connection string. rw leads to the primary, ro to a standby, any to any
member. The password stands in a file that the string names; --show-password
puts it into the string instead.`,
		Example: `  psql "$(pgapp url --role rw)"
  eval "$(pgapp url --driver env)"; psql`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(oneOf("role", role, "rw", "ro", "any"), oneOf("driver", driver, "libpq", "pgx", "jdbc", "env")); err != nil {
				return err
			}
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			conn, err := c.Connection(cmd.Context(), a.cluster, role, reveal)
			if err != nil {
				return err
			}
			text, err := connectionString(conn, driver)
			if err != nil {
				return err
			}
			return a.print(struct {
				appliance.Connection `yaml:",inline"`
				URL                  string `json:"url" yaml:"url"`
			}{conn, text}, func() error {
				_, err := fmt.Fprintln(a.Out, text)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&role, "role", "rw", "rw, ro or any")
	cmd.Flags().StringVar(&driver, "driver", "libpq", "libpq, pgx, jdbc or env")
	cmd.Flags().BoolVar(&reveal, "show-password", false, "print the password")
	return cmd
}

// connectionString writes the connection as the driver wants it. libpq 16 and
// newer know load_balance_hosts; pgx would hand it to the server, which refuses it.
func connectionString(c appliance.Connection, driver string) (string, error) {
	switch driver {
	case "libpq", "pgx":
		return libpqURL(c, driver == "libpq"), nil
	case "jdbc":
		return jdbcURL(c), nil
	case "env":
		var b strings.Builder
		for _, kv := range connectionEnv(c) {
			k, v, _ := strings.Cut(kv, "=")
			fmt.Fprintf(&b, "export %s=%s\n", k, shellQuote(v))
		}
		return strings.TrimSuffix(b.String(), "\n"), nil
	}
	return "", appliance.NewProblem(appliance.ErrUsage, "--driver has to be libpq, pgx, jdbc or env, not %q", driver)
}

func sessionAttrs(role string) string {
	switch role {
	case "rw":
		return "read-write"
	case "ro":
		return "prefer-standby"
	}
	return "any"
}

func hostPorts(c appliance.Connection) string {
	var parts []string
	for _, h := range c.Hosts {
		parts = append(parts, h.Host+":"+strconv.Itoa(h.Port))
	}
	return strings.Join(parts, ",")
}

func libpqURL(c appliance.Connection, balance bool) string {
	user := url.User(c.User)
	q := url.Values{}
	q.Set("target_session_attrs", sessionAttrs(c.Role))
	q.Set("connect_timeout", connectTimeoutSeconds)
	if c.Password != "" {
		user = url.UserPassword(c.User, c.Password)
	} else {
		q.Set("passfile", c.PassFile)
	}
	if balance && c.Role != "rw" {
		q.Set("load_balance_hosts", "random")
	}
	return "postgresql://" + user.String() + "@" + hostPorts(c) + "/" + url.PathEscape(c.Database) + "?" + q.Encode()
}

func jdbcURL(c appliance.Connection) string {
	q := url.Values{}
	q.Set("user", c.User)
	q.Set("connectTimeout", connectTimeoutSeconds)
	switch c.Role {
	case "rw":
		q.Set("targetServerType", "primary")
	case "ro":
		q.Set("targetServerType", "preferSecondary")
		q.Set("loadBalanceHosts", "true")
	}
	if c.Password != "" {
		q.Set("password", c.Password)
	}
	return "jdbc:postgresql://" + hostPorts(c) + "/" + url.PathEscape(c.Database) + "?" + q.Encode()
}

// connectionEnv are libpq's variables.
func connectionEnv(c appliance.Connection) []string {
	var hosts, ports []string
	for _, h := range c.Hosts {
		hosts = append(hosts, h.Host)
		ports = append(ports, strconv.Itoa(h.Port))
	}
	env := []string{
		"PGHOST=" + strings.Join(hosts, ","), "PGPORT=" + strings.Join(ports, ","), "PGUSER=" + c.User,
		"PGDATABASE=" + c.Database, "PGTARGETSESSIONATTRS=" + sessionAttrs(c.Role), "PGCONNECT_TIMEOUT=" + connectTimeoutSeconds,
	}
	if c.Password != "" {
		return append(env, "PGPASSWORD="+c.Password)
	}
	return append(env, "PGPASSFILE="+c.PassFile)
}

// foreignEnv leaves out libpq's variables (documentation section 32.15) that
// lead elsewhere or ask for another way in, such as PGSERVICE or PGHOSTADDR:
// they come before the host that is meant.
func foreignEnv(env []string) []string {
	keep := []string{"PGAPPNAME", "PGOPTIONS", "PGDATESTYLE", "PGTZ", "PGGEQO", "PGCLIENTENCODING"}
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "PGAPP_") || slices.Contains(keep, name) {
			out = append(out, kv)
		}
	}
	return out
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (a *app) psqlCommand() *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use: "psql [MEMBER] [-- ARGS]", Short: "Open psql as the database's owner",
		Example: `  pgapp psql
  pgapp psql --role ro -- -c 'SELECT count(*) FROM film'
  pgapp psql node2`,
		ValidArgsFunction: a.completeMembers,
		Args: func(cmd *cobra.Command, args []string) error {
			own, _ := splitDash(cmd, args)
			return memberArg(false)(cmd, own)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("role", role, "rw", "ro"); err != nil {
				return err
			}
			own, rest := splitDash(cmd, args)
			return a.psql(cmd, first(own), role, rest)
		},
	}
	cmd.Flags().StringVar(&role, "role", "rw", "rw or ro; a named member is taken as it is")
	return cmd
}

// splitDash parts our arguments from psql's.
func splitDash(cmd *cobra.Command, args []string) (own, rest []string) {
	if n := cmd.ArgsLenAtDash(); n >= 0 {
		return args[:n], args[n:]
	}
	return args, nil
}

func (a *app) psql(cmd *cobra.Command, member, role string, args []string) error {
	ctx := cmd.Context()
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	if member != "" {
		role = "any"
	}
	conn, err := c.Connection(ctx, a.cluster, role, false)
	if err != nil {
		return err
	}
	if member != "" {
		if conn.Hosts = only(conn.Hosts, member); len(conn.Hosts) == 0 {
			return appliance.NewProblem(appliance.ErrNotFound, "cluster %q has no member %q", a.cluster, member).WithHint("pgapp ps shows the members")
		}
	}
	path := conn.Psql
	if path == "" {
		if path, err = exec.LookPath("psql"); err != nil {
			return appliance.NewProblem(appliance.ErrPostgresMissing, "there is no psql on this machine: %w", err)
		}
	}
	child := exec.CommandContext(ctx, path, args...)
	child.Env = append(foreignEnv(os.Environ()), connectionEnv(conn)...)
	child.Stdin, child.Stdout, child.Stderr = a.In, a.Out, a.Err
	child.Cancel = func() error { return child.Process.Signal(os.Interrupt) }
	err = child.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 {
		a.exit = exit.ExitCode() // psql has said why
		return nil
	}
	return err
}

func only(hosts []appliance.HostPort, member string) []appliance.HostPort {
	for _, h := range hosts {
		if h.Member == member {
			return []appliance.HostPort{h}
		}
	}
	return nil
}
