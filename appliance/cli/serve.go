package cli

import (
	"github.com/spf13/cobra"

	"pgapp/appliance/program"
)

func (a daemonCommands) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "serve", Short: "Run the daemon in the foreground",
		Long: `Run the daemon in the foreground. It is the only process that opens the state;
all other commands are clients of its API and start it in the background if it
does not run. Its end changes nothing for the cluster.

--listen ADDRESS:PORT also serves the API to other machines, always with TLS and
to tokens only. The certificate is --tls-cert with --tls-key, read again when it
changes; without them one is made by a CA in the home, and renewed by itself.
'pgapp info' then names the file with that CA, for curl --cacert.`,
		Example: `  pgapp serve --listen 0.0.0.0:8432
  pgapp serve --listen db.example.org:8432 --tls-cert fullchain.pem --tls-key privkey.pem`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.local.Serve(cmd.Context(), program.Serving{
				Home: a.home, Listen: a.listen, TLSCert: a.tls.cert, TLSKey: a.tls.key, Err: a.Err,
			})
		},
	}
}

// endpointCommand is started by the daemon.
func (a daemonCommands) endpointCommand() *cobra.Command {
	return &cobra.Command{
		Use: program.EndpointCommand, Short: "Run the process behind the endpoints", Hidden: true, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.local.Endpoint(cmd.Context(), a.home) },
	}
}
