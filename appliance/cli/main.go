package cli

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pgapp/appliance"
)

// app is what commands share. Each group of commands is a type of its own around
// it.
type app struct {
	link
	local Local

	// homeGiven is set where --home stood on the command line.
	homeGiven bool
	cluster   string

	// exit is the exit code of a command without an error, as of a verify that
	// found a fault.
	exit int
}

// Main runs the command line and returns the exit code.
func Main(ctx context.Context, args []string, s Streams, local Local) int {
	a := &app{link: link{screen: screen{Streams: s}}, local: local}
	root := a.rootCommand() //nolint:contextcheck // commands take cobra's context, which is ctx
	root.SetArgs(args)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return a.exit
	}
	if ctx.Err() != nil && !appliance.IsProblem(err, appliance.ErrInterrupted) && errors.Is(err, context.Canceled) {
		err = appliance.NewProblem(appliance.ErrInterrupted, "interrupted").WithHint("a started operation continues in the daemon: pgapp ops lists it")
	}
	p := appliance.AsProblem(err)
	a.printProblem(p)
	exit, _ := p.ID.Codes()
	return exit
}

const rootLong = `pgapp turns a Linux machine into a verified PostgreSQL 17 cluster: one primary
and hot standbys on native streaming replication, in virtual machines or as
local processes, loaded with a data set, with a REST API.

  pgapp up          create the cluster, or bring it back
  pgapp ps          its members and how far each standby is
  pgapp verify      prove that it replicates
  pgapp psql        a session as the database's owner
  pgapp switchover  move the primary to a standby, without loss
  pgapp failover    replace a dead primary
  pgapp down        stop it; with --volumes remove every trace

Every flag can be given as an environment variable: --home is PGAPP_HOME,
--apt-mirror is PGAPP_APT_MIRROR.`

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use: "pgapp", Short: "A verified PostgreSQL 17 cluster from one binary", Long: rootLong,
		SilenceErrors: true, SilenceUsage: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: a.prepare,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return appliance.NewProblem(appliance.ErrUsage, "%w", err).WithHint("see '%s --help'", cmd.CommandPath())
	})
	root.SuggestionsMinimumDistance = 2 // cobra's own, which it sets only where it prints the error itself
	f := root.PersistentFlags()
	f.StringVar(&a.home, "home", "", "directory of pgapp's state (default /var/lib/pgapp for root, else ~/.local/state/pgapp)")
	f.StringVar(&a.cluster, "cluster", appliance.DefaultCluster, "name of the cluster")
	f.StringVarP(&a.format, "output", "o", "table", "table, json or yaml")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no progress")
	f.BoolVar(&a.noColor, "no-color", false, "no colours")
	a.listenFlags(f)
	up, look, member, session := upCommands{a}, lookCommands{a}, memberCommands{a}, sessionCommands{a}
	daemon, state := daemonCommands{a}, stateCommands{a}
	root.AddCommand(
		up.upCommand(), look.psCommand(), look.verifyCommand(), session.urlCommand(), session.psqlCommand(), session.sshCommand(), look.logsCommand(),
		look.opsCommand(), member.stopCommand(), member.startCommand(), member.restartCommand(), member.reinitCommand(),
		member.switchoverCommand(), member.failoverCommand(), member.rejoinCommand(), member.pauseCommand(), member.resumeCommand(), drillCommands{a}.drillCommand(), demoCommands{a}.demoCommand(), benchCommands{drillCommands{a}}.benchCommand(), up.scaleCommand(), member.downCommand(),
		daemon.infoCommand(), up.doctorCommand(), daemon.serveCommand(), daemon.endpointCommand(), daemon.shutdownCommand(), daemon.apiCommand(),
		tokenCommands{a}.tokenCommand(), imageCommands{a}.imageCommand(), state.stateCommand(), state.adoptCommand(), daemon.versionCommand(), helpExitCodes(),
	)
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.PersistentPreRunE = nil
		}
	}
	return root
}

func unknownCommand(cmd *cobra.Command, name string) error {
	p := appliance.NewProblem(appliance.ErrUsage, "unknown command %q", name)
	if s := cmd.SuggestionsFor(name); len(s) > 0 {
		return p.WithHint("did you mean '%s %s'?", cmd.CommandPath(), s[0])
	}
	return p.WithHint("see '%s --help'", cmd.CommandPath())
}

// envAnnotation names the environment variable of a flag that has another than its name's.
const envAnnotation = "env"

// envName is the environment variable of a flag.
func envName(f *pflag.Flag) string {
	if own := f.Annotations[envAnnotation]; len(own) > 0 {
		return own[0]
	}
	return "PGAPP_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

// prepare takes flags from the environment and checks the global ones.
func (a *app) prepare(cmd *cobra.Command, _ []string) error {
	var err error
	a.homeGiven = cmd.Flags().Changed("home")
	// A command's own flag may stand before a global one of its name.
	for _, set := range []*pflag.FlagSet{cmd.Flags(), cmd.Root().PersistentFlags()} {
		set.VisitAll(func(f *pflag.Flag) {
			value, ok := os.LookupEnv(envName(f))
			if !ok || f.Changed || f.Name == "help" || err != nil {
				return
			}
			if setErr := set.Set(f.Name, value); setErr != nil {
				err = appliance.NewProblem(appliance.ErrUsage, "environment variable for --%s: %w", f.Name, setErr)
			}
		})
	}
	if err != nil {
		return err
	}
	switch a.format {
	case "table", "json", "yaml":
	default:
		return appliance.NewProblem(appliance.ErrUsage, "--output has to be table, json or yaml, not %q", a.format)
	}
	if !appliance.ValidName(a.cluster) {
		return &appliance.Problem{
			ID: appliance.ErrInvalidSpec, Message: "the cluster's name is not valid",
			Fields: []appliance.FieldError{{Field: "name", Message: "has to match [a-z][a-z0-9-]*, at most 40 characters, not ending in -"}},
		}
	}
	if err := a.prepareListen(); err != nil {
		return err
	}
	a.home, err = homeDir(a.home)
	return err
}

// noArgs refuses arguments with a usage error.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return appliance.NewProblem(appliance.ErrUsage, "%s takes no argument, but got %q", cmd.CommandPath(), args[0]).
			WithHint("see '%s --help'", cmd.CommandPath())
	}
	return nil
}

// memberArg allows at most one argument, a member's name.
func memberArg(required bool) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 || required && len(args) == 0 {
			return appliance.NewProblem(appliance.ErrUsage, "%s takes one member's name", cmd.CommandPath()).WithHint("pgapp ps shows the members")
		}
		if len(args) == 1 && !appliance.ValidName(args[0]) {
			return appliance.NewProblem(appliance.ErrUsage, "%q is not the name of a member", args[0]).WithHint("pgapp ps shows the members")
		}
		return nil
	}
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// completeMembers offers the members' names to the shell. It never starts a
// daemon.
func (a *app) completeMembers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || a.prepare(cmd, nil) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, _, err := a.running(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	s, err := c.Status(cmd.Context(), a.cluster)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, m := range s.Members {
		names = append(names, m.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
