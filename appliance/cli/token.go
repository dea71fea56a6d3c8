package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"pgapp/api"
	"pgapp/appliance"
)

// tokenCommands manage the tokens of the API.
type tokenCommands struct{ *app }

func (a tokenCommands) tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "token", Short: "Manage the tokens of the API",
		Long: `A token lets a program use the API over TCP. A read token may look, but sees no
passwords; an admin token may do everything.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.tokenCreate(), a.tokenList(), a.tokenRevoke())
	return cmd
}

// nameArg wants exactly one argument, a name.
func nameArg(cmd *cobra.Command, args []string) error {
	if len(args) != 1 || !appliance.ValidName(args[0]) {
		return appliance.NewProblem(appliance.ErrUsage, "%s takes one name: a-z, 0-9 and -, at most 40 characters", cmd.CommandPath())
	}
	return nil
}

func (a tokenCommands) tokenCreate() *cobra.Command {
	var scope string
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a token and print it; it can't be shown again", Args: nameArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			if scope != api.ScopeRead && scope != api.ScopeAdmin {
				return appliance.NewProblem(appliance.ErrUsage, "--scope has to be read or admin, not %q", scope)
			}
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			t, err := c.CreateToken(cmd.Context(), args[0], scope)
			if err != nil {
				return err
			}
			return a.print(t, func() error {
				_, err := fmt.Fprintln(a.Out, t.Secret)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&scope, "scope", api.ScopeRead, "read or admin")
	return cmd
}

func (a tokenCommands) tokenList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the tokens, without their secrets", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			list, err := c.ListTokens(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(list, func() error {
				t := newTable("name", "scope", "created", "last used")
				for _, k := range list {
					used := "never"
					if k.LastUsed != nil {
						used = k.LastUsed.Local().Format(time.DateTime)
					}
					t.AppendRow([]any{k.Name, k.Scope, k.CreatedAt.Local().Format(time.DateTime), used})
				}
				return a.renderTable(t)
			})
		},
	}
}

func (a tokenCommands) tokenRevoke() *cobra.Command {
	return &cobra.Command{
		Use: "revoke NAME", Aliases: []string{"rm"}, Short: "Revoke a token: it is refused at once", Args: nameArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			if err := c.RevokeToken(cmd.Context(), args[0]); err != nil {
				return err
			}
			a.note("token %s is revoked", args[0])
			return nil
		},
	}
}
