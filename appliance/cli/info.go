package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pgapp/appliance"
	"pgapp/appliance/program"
)

// daemonCommands are about the daemon and the program itself.
type daemonCommands struct{ *app }

func (a daemonCommands) infoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "info", Short: "Show where the daemon is", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			i, err := c.Info(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(i, func() error {
				_, err := fmt.Fprintf(a.Out, "url      %s\nsocket   %s\npid      %d\nhome     %s\nversion  %s\nmode     %s\n",
					i.URL, i.Socket, i.PID, i.Home, i.Version, i.Mode)
				if err == nil && i.CAFile != "" {
					_, err = fmt.Fprintf(a.Out, "ca       %s (curl --cacert)\n", i.CAFile)
				}
				for _, l := range i.Loops {
					a.note("loop %s has failed %d times, last at %s: %s; it is started again", clean(l.Loop), l.Failures, l.FailedAt.Local().Format(time.DateTime), clean(l.Error))
				}
				return err
			})
		},
	}
}

func (a daemonCommands) shutdownCommand() *cobra.Command {
	return &cobra.Command{
		Use: "shutdown", Short: "Stop the daemon; the cluster runs on", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, info, err := a.running(cmd.Context())
			if appliance.IsProblem(err, appliance.ErrDaemonUnreachable) {
				a.note("the daemon is not running")
				return nil
			}
			if err != nil {
				return err
			}
			return stopDaemon(cmd.Context(), c, info.PID)
		},
	}
}

func (a daemonCommands) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version string `json:"version" yaml:"version"`
				Build   string `json:"build" yaml:"build"`
				Commit  string `json:"commit,omitempty" yaml:"commit,omitempty"`
			}{program.Version(), program.BuildID(), program.Revision()}
			return a.print(v, func() error {
				_, err := fmt.Fprintln(a.Out, program.VersionText())
				return err
			})
		},
	}
}

func (a daemonCommands) apiCommand() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use: "api METHOD PATH", Short: "Make one request to the daemon's API",
		Example: `  pgapp api GET /api/v1/clusters
  pgapp api POST /api/v1/clusters -d '{"name":"shop","provider":"local"}'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 || !strings.HasPrefix(args[1], "/") {
				return appliance.NewProblem(appliance.ErrUsage, "%s takes a method and a path that begins with /", cmd.CommandPath())
			}
			return checkRequest(args[0], args[1])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.callAPI(cmd, strings.ToUpper(args[0]), args[1], data)
		},
	}
	cmd.Flags().StringVarP(&data, "data", "d", "", "body, JSON; - reads standard input")
	return cmd
}

func (a daemonCommands) callAPI(cmd *cobra.Command, method, path, data string) error {
	c, err := a.client(cmd.Context())
	if err != nil {
		return err
	}
	var body io.Reader
	switch data {
	case "":
	case "-":
		body = a.In
	default:
		body = strings.NewReader(data)
	}
	resp, err := c.Do(cmd.Context(), method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if !strings.Contains(resp.Header.Get("Content-Type"), "json") {
		_, err = io.Copy(a.Out, resp.Body)
	} else {
		err = indentJSON(a.Out, resp.Body)
	}
	if err == nil && resp.StatusCode >= http.StatusBadRequest {
		a.exit = appliance.ExitFailed
	}
	return err
}

func indentJSON(w io.Writer, r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		b.Reset()
		b.Write(raw)
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	_, err = w.Write(b.Bytes())
	return err
}

func helpExitCodes() *cobra.Command {
	return &cobra.Command{
		Use: "exit-codes", Short: "What the exit codes mean",
		Long: `  0  done
  1  failed
  2  wrong usage: a flag, an argument, a field of the spec
  3  degraded: verify or ps found something not well
  4  not authorised
  5  not found
  6  conflict: another operation runs, the cluster is different, or no standby may
     become the primary
  7  this host can't: no memory, no disk, no KVM, no PostgreSQL
  8  declined, or there was no terminal to ask on
124  timed out; the operation continues in the daemon
130  interrupted; the operation continues in the daemon

Every error has a stable id: error[host-no-space]. With -o json the error is an
object on standard error.`,
	}
}
