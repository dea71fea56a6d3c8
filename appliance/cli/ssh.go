package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/home"
)

func (a sessionCommands) sshCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ssh MEMBER [-- COMMAND...]", Short: "Log in to a member's virtual machine, or run a command there",
		Long: `Log in to a member's virtual machine as user "pgapp", who may become any other by
sudo; or run a command there, whose words go to the machine's shell as they do
with ssh. The machine is known by the host key that pgapp gave it: another is
refused. The exit code is the command's.`,
		Example: `  pgapp ssh node1
  pgapp ssh node1 -- sudo systemctl status pgapp-postgres`,
		ValidArgsFunction: a.completeMembers,
		Args: func(cmd *cobra.Command, args []string) error {
			own, _ := splitDash(cmd, args)
			return memberArg(true)(cmd, own)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			own, rest := splitDash(cmd, args)
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			return a.ssh(cmd.Context(), c, own[0], rest, false)
		},
	}
}

// sshLost is ssh's exit code if the connection failed or was lost.
const sshLost = 255

// ssh runs the command on the member's machine, or a login shell without one;
// with pty on a terminal of its own. The exit code is the command's.
func (a sessionCommands) ssh(ctx context.Context, c *api.Client, member string, command []string, pty bool) error {
	login, err := c.Login(ctx, a.cluster, member)
	if err != nil {
		return err
	}
	path, err := exec.LookPath("ssh")
	if err != nil {
		return appliance.NewProblem(appliance.ErrHostUnable, "there is no ssh on this machine: %w", err).
			WithHint("install OpenSSH's client, such as package openssh-client")
	}
	dir, err := a.sshFiles(member, login)
	if err != nil {
		return err
	}
	child := exec.CommandContext(context.WithoutCancel(ctx), path, sshArgs(member, login, command, pty)...)
	child.Dir = dir
	child.Stdin, child.Stdout, child.Stderr = a.In, a.Out, a.Err
	code, err := runChild(ctx, child, suspendSelf)
	if err == nil {
		a.exit = code // ssh, or the command, has said why
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// sshFiles writes what ssh needs into a directory that only this user may
// enter. The directory is in the home, so that the removal of the cluster also
// removes the files of a killed command.
func (a sessionCommands) sshFiles(member string, l api.GuestLogin) (string, error) {
	parent := filepath.Join(a.home, home.ClientDir, a.cluster)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", fmt.Errorf("preparing the login: %w", err)
	}
	dir, err := os.MkdirTemp(parent, "ssh-")
	if err != nil {
		return "", fmt.Errorf("preparing the login: %w", err)
	}
	for name, text := range map[string]string{"key": l.Key, "known_hosts": member + " " + l.HostKey + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", errors.Join(fmt.Errorf("preparing the login: %w", err), os.RemoveAll(dir))
		}
	}
	return dir, nil
}

// sshArgs overrides the user's configuration: only pgapp's key is offered, and only
// the pinned host key is trusted. The files' names are relative, since ssh expands
// some characters of a path.
func sshArgs(member string, l api.GuestLogin, command []string, pty bool) []string {
	args := []string{"-F", "none", "-p", strconv.Itoa(l.Port), "-l", l.User}
	for _, o := range []string{
		"IdentityFile=key", "IdentitiesOnly=yes", "IdentityAgent=none", "PreferredAuthentications=publickey",
		"UserKnownHostsFile=known_hosts", "GlobalKnownHostsFile=none", "StrictHostKeyChecking=yes", "UpdateHostKeys=no",
		"HostKeyAlias=" + member, "HostKeyAlgorithms=ssh-ed25519", "ConnectTimeout=30", "LogLevel=ERROR",
	} {
		args = append(args, "-o", o)
	}
	if pty {
		args = append(args, "-t")
	}
	args = append(args, "--", l.Host)
	return append(args, command...)
}
