package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"pgapp/appliance"
)

// patienceSeconds keeps a client from waiting for a dead host.
const patienceSeconds = 3

// connectTimeout is in seconds. A client with no other host outlasts an endpoint that holds
// its connection during a change of primary, so that it waits and is not refused.
func connectTimeout(c appliance.Connection) string {
	wait := 0
	for _, h := range c.Hosts {
		if !h.Endpoint {
			return strconv.Itoa(patienceSeconds)
		}
		wait = max(wait, h.WaitSeconds)
	}
	return strconv.Itoa(wait + patienceSeconds)
}

// urlFlags are the flags of url.
type urlFlags struct {
	role, host, driver, only string
	reveal                   bool
}

func (a sessionCommands) urlCommand() *cobra.Command {
	f := &urlFlags{}
	cmd := &cobra.Command{
		Use: "url", Aliases: []string{"uri", "dsn"}, Short: "Print how to connect to the database",
		Long: urlLong,
		Example: `  psql "$(pgapp url --role rw)"
  eval "$(pgapp url --driver env)"; psql
  DATABASE_URL=$(pgapp url --host node0 --show-password) node server.js`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.url(cmd.Context(), f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.role, "role", "rw", "rw, ro or any")
	fl.StringVar(&f.host, "host", "", "only this member, whatever its role")
	fl.StringVar(&f.only, "only", "", "endpoint or members: leave out the others (default both)")
	fl.StringVar(&f.driver, "driver", driverLibpq, strings.Join(drivers()[:len(drivers())-1], ", ")+" or "+drivers()[len(drivers())-1])
	fl.BoolVar(&f.reveal, "show-password", false, "print the password")
	return cmd
}

// url prints the connection.
func (a sessionCommands) url(ctx context.Context, f *urlFlags) error {
	if err := errors.Join(oneOf("role", f.role, "rw", "ro", "any"), oneOf("driver", f.driver, drivers()...), oneOf("only", f.only, "", onlyEndpoint, onlyMembers)); err != nil {
		return err
	}
	if f.host != "" && !appliance.ValidName(f.host) {
		return appliance.NewProblem(appliance.ErrUsage, "--host takes a member's name, not %q", f.host).WithHint("pgapp ps shows the members")
	}
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	role := f.role
	if f.host != "" {
		role = "any"
	}
	conn, err := c.Connection(ctx, a.cluster, role, f.reveal)
	if err != nil {
		return err
	}
	if conn.Hosts, err = a.onlyMember(conn.Hosts, f.host); err != nil {
		return err
	}
	if conn.Hosts, err = a.onlyKind(conn.Hosts, f.only); err != nil {
		return err
	}
	text, err := connectionString(conn, f.driver)
	if err != nil {
		return err
	}
	return a.print(struct {
		appliance.Connection `yaml:",inline"`
		URL                  string `json:"url" yaml:"url"`
	}{conn, text}, func() error {
		if _, err := fmt.Fprintln(a.Out, text); err != nil {
			return err
		}
		if f.driver == driverJDBC && !f.reveal {
			a.note("%s", jdbcPassword(conn))
		}
		return nil
	})
}

// The values of --only.
const (
	onlyEndpoint = "endpoint"
	onlyMembers  = "members"
)

// onlyKind keeps the endpoint or the members, or all hosts without a wish.
func (a *app) onlyKind(hosts []appliance.HostPort, only string) ([]appliance.HostPort, error) {
	out := slices.DeleteFunc(slices.Clone(hosts), func(h appliance.HostPort) bool {
		return only == onlyEndpoint && !h.Endpoint || only == onlyMembers && h.Endpoint
	})
	if len(out) == 0 {
		return nil, appliance.NewProblem(appliance.ErrNotFound, "cluster %q has no endpoint for that role", a.cluster).
			WithHint("pgapp up --endpoint on gives it endpoints; --role is rw or ro")
	}
	return out, nil
}

// The forms of a connection string.
const (
	driverLibpq   = "libpq"
	driverLibpq16 = "libpq16"
	driverPgx     = "pgx"
	driverJDBC    = "jdbc"
	driverEnv     = "env"
)

func drivers() []string {
	return []string{driverLibpq, driverLibpq16, driverPgx, driverJDBC, driverEnv}
}

// connectionString writes the connection as the driver wants it.
func connectionString(c appliance.Connection, driver string) (string, error) {
	switch driver {
	case driverLibpq, driverPgx:
		return libpqURL(c, false), nil
	case driverLibpq16:
		return libpqURL(c, true), nil
	case driverJDBC:
		return jdbcURL(c), nil
	case driverEnv:
		var b strings.Builder
		for _, kv := range connectionEnv(c) {
			k, v, _ := strings.Cut(kv, "=")
			fmt.Fprintf(&b, "export %s=%s\n", k, shellQuote(v))
		}
		return b.String() + "unset " + strings.Join(unwanted(c), " "), nil
	}
	return "", oneOf("driver", driver, drivers()...)
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

// libpqURL is libpq's URI. What is the default anyway is left out, since other
// drivers refuse it.
func libpqURL(c appliance.Connection, balance bool) string {
	user := escape(c.User)
	q := query{{"connect_timeout", connectTimeout(c)}}
	if c.Password != "" {
		user += ":" + escape(c.Password)
	} else {
		q = append(q, param{"passfile", c.PassFile})
	}
	if balanced(c) && balance {
		q = append(q, param{"load_balance_hosts", "random"})
	}
	if c.Role != "any" {
		q = append(q, param{"target_session_attrs", sessionAttrs(c.Role)})
	}
	return "postgresql://" + user + "@" + hostPorts(c) + "/" + escape(c.Database) + "?" + q.String()
}

// balanced tells whether sessions may be spread over the hosts.
func balanced(c appliance.Connection) bool { return len(c.Hosts) > 1 && c.Role != "rw" }

func jdbcURL(c appliance.Connection) string {
	q := query{{"user", c.User}, {"connectTimeout", connectTimeout(c)}}
	switch c.Role {
	case "rw":
		q = append(q, param{"targetServerType", "primary"})
	case "ro":
		q = append(q, param{"targetServerType", "preferSecondary"})
	}
	if balanced(c) {
		q = append(q, param{"loadBalanceHosts", "true"})
	}
	if c.Password != "" {
		q = append(q, param{"password", c.Password})
	}
	return "jdbc:postgresql://" + hostPorts(c) + "/" + escape(c.Database) + "?" + q.String()
}

// jdbcPassword says how pgjdbc gets the password, which its URL does not name.
// It looks up several hosts in a password file as if they were one.
func jdbcPassword(c appliance.Connection) string {
	if len(c.Hosts) == 1 {
		return "pgjdbc takes no password file from a URL: set PGPASSFILE=" + shellQuote(c.PassFile) + ", or use --show-password"
	}
	return "pgjdbc takes no password file for several hosts: use --show-password, or --host and PGPASSFILE=" + shellQuote(c.PassFile)
}

// query is a URL's, in order.
type query []param

type param struct{ name, value string }

func (q query) String() string {
	parts := make([]string, len(q))
	for i, p := range q {
		parts[i] = escape(p.name) + "=" + escape(p.value)
	}
	return strings.Join(parts, "&")
}

// escape writes everything but letters, digits and -._~ in %XX. A blank is
// never +, which libpq takes for a plus sign.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// connectionEnv are libpq's variables.
func connectionEnv(c appliance.Connection) []string {
	var hosts, ports []string
	for _, h := range c.Hosts {
		hosts = append(hosts, h.Host)
		ports = append(ports, strconv.Itoa(h.Port))
	}
	env := []string{
		"PGHOST=" + strings.Join(hosts, ","), "PGPORT=" + strings.Join(ports, ","), "PGUSER=" + c.User,
		"PGDATABASE=" + c.Database, "PGTARGETSESSIONATTRS=" + sessionAttrs(c.Role), "PGCONNECT_TIMEOUT=" + connectTimeout(c),
	}
	if balanced(c) {
		env = append(env, "PGLOADBALANCEHOSTS=random") // libpq 15 and older don't read it
	}
	if c.Password != "" {
		return append(env, "PGPASSWORD="+c.Password)
	}
	return append(env, "PGPASSFILE="+c.PassFile)
}

// unwanted are libpq's variables that an earlier connection may have left in a
// shell, and that would lead to another server.
func unwanted(c appliance.Connection) []string {
	names := []string{"PGHOSTADDR", "PGSERVICE", "PGPASSWORD", "PGPASSFILE", "PGLOADBALANCEHOSTS"}
	set := connectionEnv(c)
	return slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(set, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
	})
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
