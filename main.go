// Command pgapp turns a Linux machine into a verified PostgreSQL 17 cluster.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"pgapp/appliance/cli"
	"pgapp/appliance/daemon"
	"pgapp/appliance/daemon/statebackup"
	"pgapp/embed/pagila"
	"pgapp/embed/pgtree"
	"pgapp/embed/ui"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr},
		cli.Local{
			Serve:    daemon.Assets{PostgresTree: pgtree.FS, Pagila: pagila.FS}.Serve,
			Endpoint: daemon.Endpoint, KillEndpoint: daemon.KillEndpoint, Doctor: daemon.Doctor, CheckStateFile: daemon.CheckStateFile, VerifyStateBackup: daemon.VerifyStateBackup,
			StateBackups: statebackup.List, StateKey: statebackup.Key, Pages: ui.FS,
		})
	stop()
	os.Exit(code)
}
