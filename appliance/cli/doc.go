// Package cli is pgapp's command line, a file a command. It reaches clusters
// through the API's client only, and starts the daemon where it does not run. What
// runs in the command's own process (serve, doctor, the checks of the state's
// files) is handed over by main as [Local].
package cli
