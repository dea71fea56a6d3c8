package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/durable"
	"pgapp/appliance/home"
)

// stateCommands are about pgapp's own state.
type stateCommands struct{ *app }

func (a stateCommands) stateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "state", Short: "Back up, check, move and restore pgapp's own state",
		Long: `pgapp's state holds the records of the clusters and their passwords, not their
data. It is backed up by itself at every change of topology and daily, to
HOME/backups, sealed to the home's own key: keep that key elsewhere
(pgapp state key). A backup is opened by age and tar as well:
age -d -i KEY FILE | tar -xf -`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.stateBackup(), a.stateRestore(), a.stateList(), a.stateVerify(), a.stateKey(), a.stateCheck(), a.stateCompact(), a.stateCheckFile())
	return cmd
}

// fileArg wants exactly one argument, a file.
func fileArg(cmd *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return appliance.NewProblem(appliance.ErrUsage, "%s takes one file", cmd.CommandPath()).WithHint("see '%s --help'", cmd.CommandPath())
	}
	return nil
}

func (a stateCommands) stateBackup() *cobra.Command {
	var req api.BackupRequest
	var passphraseFile string
	cmd := &cobra.Command{
		Use: "backup FILE|-", Short: "Write a sealed copy of the state while the daemon runs",
		Example: `  pgapp state backup --recipient age1... state.tar.age
  pgapp state backup --passphrase-file secret.txt - | ssh elsewhere 'cat > state.tar.age'`,
		Args: fileArg,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if req.Passphrase, err = readPassphrase(passphraseFile); err != nil {
				return err
			}
			if err := req.Check(); err != nil {
				return appliance.AsProblem(err).WithHint("give --recipient, --passphrase-file or --plaintext; plaintext shows every secret")
			}
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			if args[0] == "-" {
				return c.Backup(cmd.Context(), req, a.Out)
			}
			return a.backupTo(cmd.Context(), c, req, args[0])
		},
	}
	cmd.Flags().StringArrayVar(&req.Recipients, "recipient", nil, "age public key that the copy is sealed to; may be repeated")
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "file whose first line is the passphrase that seals the copy")
	cmd.Flags().BoolVar(&req.Plaintext, "plaintext", false, "don't seal the copy: it shows every secret")
	return cmd
}

// backupTo writes the file whole or not at all.
func (a stateCommands) backupTo(ctx context.Context, c *api.Client, req api.BackupRequest, path string) error {
	f, err := durable.NewFile(path)
	if err != nil {
		return fmt.Errorf("writing the backup: %w", err)
	}
	defer func() { _ = f.Cleanup() }()
	if err := c.Backup(ctx, req, f); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("writing the backup: %w", err)
	}
	a.note("the state is backed up to %s", path)
	return nil
}

// readPassphrase reads the first line of a file, which has to fit an HTTP header.
func readPassphrase(path string) (appliance.Secret, error) {
	if path == "" {
		return appliance.Secret{}, nil
	}
	b, err := readSmall(path)
	if err != nil {
		return appliance.Secret{}, err
	}
	line, rest, _ := strings.Cut(string(b), "\n")
	line = strings.TrimSuffix(line, "\r")
	switch {
	case strings.TrimSpace(rest) != "":
		return appliance.Secret{}, appliance.NewProblem(appliance.ErrUsage, "%s holds more than one line; a passphrase is a single line", path)
	case line == "":
		return appliance.Secret{}, appliance.NewProblem(appliance.ErrUsage, "%s holds no passphrase", path)
	case line != strings.TrimSpace(line), strings.ContainsFunc(line, unicode.IsControl):
		return appliance.Secret{}, appliance.NewProblem(appliance.ErrUsage, "the passphrase in %s begins or ends with a space, or holds a control character", path)
	}
	return appliance.NewSecret(line), nil
}

// readSmall reads a file with a key in it.
func readSmall(path string) ([]byte, error) {
	const most = 64 << 10
	f, err := os.Open(path)
	if err != nil {
		return nil, appliance.NewProblem(appliance.ErrUsage, "opening the key: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && len(b) > most {
		err = errors.New("it is too large")
	}
	if err != nil {
		return nil, appliance.NewProblem(appliance.ErrUsage, "reading the key %s: %w", path, err)
	}
	return b, nil
}

// keyFlags are those of the commands that open an archive.
type keyFlags struct{ identity, passphrase string }

func (k *keyFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&k.identity, "identity-file", "", "file with the age identity that opens it (default: the home's own)")
	cmd.Flags().StringVar(&k.passphrase, "passphrase-file", "", "file whose first line is the passphrase that opens it")
}

// read returns both, the identities as one line separated by commas.
func (k keyFlags) read() (passphrase, identities appliance.Secret, err error) {
	if passphrase, err = readPassphrase(k.passphrase); err != nil || k.identity == "" {
		return passphrase, identities, err
	}
	b, err := readSmall(k.identity)
	if err != nil {
		return passphrase, identities, err
	}
	var keys []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			keys = append(keys, line)
		}
	}
	if len(keys) == 0 || slices.ContainsFunc(keys, func(k string) bool { return !strings.HasPrefix(k, "AGE-SECRET-KEY-") }) {
		return passphrase, identities, appliance.NewProblem(appliance.ErrUsage, "%s is no age identity file", k.identity).
			WithHint("it holds lines that begin with AGE-SECRET-KEY-")
	}
	return passphrase, appliance.NewSecret(strings.Join(keys, ",")), nil
}

func (a stateCommands) stateList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the automatic backups, newest first", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			list, err := a.local.StateBackups(a.home)
			if err != nil {
				return err
			}
			if list == nil {
				list = []api.BackupFile{}
			}
			return a.print(list, func() error {
				t := newTable("file", "size", "made")
				for _, f := range list {
					t.AppendRow([]any{f.Path, humanize.IBytes(uint64(max(f.Bytes, 0))), f.CreatedAt.Local().Format(time.DateTime)})
				}
				return a.renderTable(t)
			})
		},
	}
}

func (a stateCommands) stateKey() *cobra.Command {
	return &cobra.Command{
		Use: "key", Short: "Print the key that opens the automatic backups; keep a copy elsewhere", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := a.local.StateKey(a.home)
			if errors.Is(err, os.ErrNotExist) {
				return appliance.NewProblem(appliance.ErrNotFound, "the home %s has no key yet", a.home).WithHint("pgapp info starts the daemon, which makes it")
			}
			if err != nil {
				return fmt.Errorf("reading the home's key: %w", err)
			}
			a.note("the backups in %s can't be opened without this key: keep a copy on another machine", filepath.Join(a.home, home.BackupsDir))
			_, err = io.WriteString(a.Out, text.Reveal())
			return err
		},
	}
}

func (a stateCommands) stateCheck() *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Check every page of the state's file", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			r, err := c.CheckState(cmd.Context())
			if err != nil {
				return err
			}
			if !r.OK {
				a.exit = appliance.ExitDegraded
			}
			return a.print(r, func() error { return a.reportTable(r) })
		},
	}
}

func (a stateCommands) reportTable(r api.StateReport) error {
	if r.OK {
		total := 0
		for _, n := range r.Values {
			total += n
		}
		_, err := fmt.Fprintf(a.Out, "the state is sound: schema %d, instance %s, %d values\n", r.Schema, r.Instance, total)
		return err
	}
	for _, f := range r.Findings {
		if _, err := fmt.Fprintln(a.Out, clean(f)); err != nil {
			return err
		}
	}
	a.note("the state is damaged: pgapp state list shows the backups, pgapp state restore FILE takes one back")
	return nil
}

func (a stateCommands) stateCompact() *cobra.Command {
	return &cobra.Command{
		Use: "compact", Short: "Shrink the state's file by its free pages", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			r, err := c.CompactState(cmd.Context())
			if err != nil {
				return err
			}
			if err := awaitDaemon(cmd.Context(), c); err != nil {
				return err
			}
			return a.print(r, func() error {
				_, err := fmt.Fprintf(a.Out, "%s → %s\n", humanize.IBytes(uint64(r.BytesBefore)), humanize.IBytes(uint64(r.BytesAfter)))
				return err
			})
		},
	}
}
