package cli

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"pgapp/api"
	"pgapp/appliance"
)

// sessionCommands open a session on a database or a machine.
type sessionCommands struct{ *app }

func (a sessionCommands) psqlCommand() *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use: "psql [MEMBER] [-- ARGS]", Short: "Open psql as the database's owner, or as superuser",
		Long: `Open psql on the primary, or on a named member. psql takes this command's place:
signals, job control and the exit code are psql's own.

--role admin is the superuser, for what only a superuser may do: extensions,
roles, ALTER SYSTEM. The session goes through the member's unix socket, as the
server's operating system user. As root, psql therefore runs as that user, who
has to be able to read the files that -f, \i and \copy name. On a virtual machine
psql runs inside it, and those files are the machine's. Standard input is always
yours: pgapp psql --role admin < file.sql`,
		Example: `  pgapp psql
  pgapp psql --role ro -- -c 'SELECT count(*) FROM film'
  pgapp psql node2
  pgapp psql --role admin -- -c 'CREATE EXTENSION pg_trgm'`,
		ValidArgsFunction: a.completeMembers,
		Args: func(cmd *cobra.Command, args []string) error {
			own, _ := splitDash(cmd, args)
			return memberArg(false)(cmd, own)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("role", role, "rw", "ro", roleAdmin); err != nil {
				return err
			}
			own, rest := splitDash(cmd, args)
			return a.psql(cmd.Context(), first(own), role, rest)
		},
	}
	cmd.Flags().StringVar(&role, "role", "rw", "rw, ro or admin; a named member is used whatever its role")
	return cmd
}

// roleAdmin asks for the superuser's session.
const roleAdmin = "admin"

// splitDash separates the command's arguments from those after --.
func splitDash(cmd *cobra.Command, args []string) (own, rest []string) {
	if n := cmd.ArgsLenAtDash(); n >= 0 {
		return args[:n], args[n:]
	}
	return args, nil
}

func (a sessionCommands) psql(ctx context.Context, member, role string, args []string) error {
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	if member != "" && role != roleAdmin {
		role = "any"
	}
	conn, err := c.Connection(ctx, a.cluster, role, false)
	if err != nil {
		return err
	}
	if conn.Hosts, err = a.onlyMember(conn.Hosts, member); err != nil {
		return err
	}
	if role == roleAdmin {
		return a.adminPsql(ctx, c, conn, args)
	}
	path := conn.Psql
	if path == "" {
		if path, err = exec.LookPath("psql"); err != nil {
			return appliance.NewProblem(appliance.ErrPostgresMissing, "there is no psql on this machine: %w", err)
		}
	}
	return become(ctx, path, args, append(foreignEnv(os.Environ()), connectionEnv(conn)...))
}

// adminPsql opens the superuser's session on the first of the hosts.
func (a sessionCommands) adminPsql(ctx context.Context, c *api.Client, conn appliance.Connection, args []string) error {
	host := conn.Hosts[0]
	if host.Local == nil {
		return appliance.NewProblem(appliance.ErrInternal, "the daemon does not say how the superuser reaches %s", host.Member)
	}
	env := adminEnv(conn)
	if host.Local.Machine {
		return a.ssh(ctx, c, host.Member, guestPsql(*host.Local, env, args), terminalReader(a.In) && terminal(a.Out))
	}
	all := append(foreignEnv(os.Environ()), env...)
	if os.Geteuid() == 0 {
		if _, ok := os.LookupEnv("PSQL_HISTORY"); !ok {
			all = append(all, "PSQL_HISTORY=/dev/null") // root's own can't be written by the server's user
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := switchUser(host.Local.OSUser); err != nil {
			return err
		}
	}
	return become(ctx, host.Local.Psql, args, all)
}

// adminEnv are libpq's variables for the superuser's session.
func adminEnv(conn appliance.Connection) []string {
	host := conn.Hosts[0]
	one := conn
	one.Hosts = []appliance.HostPort{{Member: host.Member, Host: host.Local.SocketDir, Port: host.Port}}
	one.Role = "any"
	return slices.DeleteFunc(connectionEnv(one), func(kv string) bool { return strings.HasPrefix(kv, "PGPASSFILE=") })
}

// guestPsql is the command, for a login shell on the member's machine, that
// opens the superuser's session there.
func guestPsql(l appliance.LocalAccess, env, args []string) []string {
	words := append([]string{"sudo", "-n", "-u", l.OSUser, "--", "env", "-C", "/", "--", "LC_ALL=C.UTF-8"}, env...)
	words = append(append(words, l.Psql), args...)
	for i, w := range words {
		words[i] = shellQuote(w)
	}
	return words
}

// onlyMember keeps the named member, or all hosts without a name.
func (a sessionCommands) onlyMember(hosts []appliance.HostPort, member string) ([]appliance.HostPort, error) {
	if member == "" {
		return hosts, nil
	}
	for _, h := range hosts {
		if h.Member == member {
			return []appliance.HostPort{h}, nil
		}
	}
	return nil, appliance.NoMember(a.cluster, member)
}

// become runs the program in this process's place: it gets the terminal's
// signals once, can be suspended, and its exit code is the process's.
func become(ctx context.Context, path string, args, env []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := syscall.Exec(path, append([]string{path}, args...), env)
	return appliance.NewProblem(appliance.ErrHostUnable, "starting %s: %w", path, err)
}
