package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/control"
	"pgapp/appliance/observe"
	"pgapp/appliance/op"
	"pgapp/appliance/plan"
	"pgapp/appliance/postgres"
	"pgapp/appliance/postgres/template"
	"pgapp/appliance/postgres/tree"
	"pgapp/embed/pagila"
	"pgapp/store"
)

// daemon is everything that serves one home.
type daemon struct {
	info    appliance.Info
	api     api.Config
	control *control.Controller // nil in recovery
	// close ends all work and closes the store. A repeat does nothing.
	close func()
	renewal
}

// compose puts the rooms together. With a damaged store the daemon serves
// recovery only.
func (a *app) compose(ctx context.Context, lock *store.HomeLock, info appliance.Info, log *slog.Logger) (*daemon, error) {
	clearStaging(a.home) // a killed restore may have left secrets there
	d := &daemon{info: info}
	admin := &stateAdmin{home: a.home, lock: lock, log: log, renew: d.renew}
	st, err := store.Open(ctx, a.home, store.Options{Lock: lock})
	if err != nil {
		if !appliance.IsProblem(err, appliance.ErrStoreDamaged) && !appliance.IsProblem(err, appliance.ErrStoreNewer) {
			return nil, err
		}
		p := appliance.AsProblem(err)
		info.Mode, info.Reason = "recovery", p.Error()
		log.Error("the state can't be used: serving recovery only", "error", err)
		d.info, d.close = info, func() {}
		d.api = api.Config{
			Service: recovery{info, p}, Operations: recovery{info, p}, Logger: log, Recovery: p, DaemonLogs: a.daemonLogs,
			State: admin, Held: d.heldBy,
		}
		return d, nil
	}
	admin.st = st
	if err := ensureToken(ctx, st, a.home); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	providers, closeProviders, err := a.providers(st)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	saved, err := startBackups(ctx, a.home, st, log)
	if err != nil {
		closeProviders()
		return nil, errors.Join(err, st.Close())
	}
	idle := func() {
		releaseMemory()
		saved.look()
	}
	sent := sqlFiles{app: a, st: st, log: log}
	sent.sweep(ctx)
	sessions := &postgres.Sessions{}
	observer := observe.New(sessions)
	planner := plan.New(plan.Config{
		Store: st, Providers: providers, Dataset: a.dataset, Template: a.template,
		Adopted: func(ctx context.Context, cluster string) error { return control.Adopted(ctx, st, cluster) },
		Forget:  a.forget, Loaded: sent.remove, Sessions: sessions, Observer: observer, Binaries: a.binaries,
	})
	runner := op.New(ctx, op.Config{Store: st, Plan: planner.Plan, End: planner.End, Log: log, Idle: idle})
	ctl := control.New(control.Config{
		Store: st, Runner: runner, Preview: planner.Preview, Providers: providers, Info: info, Log: log, ClientDir: filepath.Join(a.home, clientDir),
		AutoProvider: func(ctx context.Context, s appliance.Spec) (appliance.ProviderKind, string) {
			return autoProvider(ctx, providers, s)
		},
		Psql: psqlOf, Settings: st, Observer: observer,
	})
	d.control = ctl
	d.close = sync.OnceFunc(func() {
		runner.Close()
		saved.close()
		ctl.Close(context.WithoutCancel(ctx))
		closeProviders()
		if err := st.Close(); err != nil {
			log.Error("closing the state", "error", err)
		}
	})
	d.api = api.Config{
		DaemonLogs: a.daemonLogs,
		Ready: func(ctx context.Context) error {
			_, err := st.Clusters(ctx)
			return err
		},
		Service: ctl, Operations: runner, Tokens: tokens{st}, TokenAdmin: tokens{st}, Idempotency: idempotency{st}, Logger: log,
		SQLFiles: sent, State: admin, Adopter: adopter{ctl, saved}, Held: d.heldBy, Machines: machinesOf(st, providers),
	}
	return d, nil
}

// forget removes the clients' files of a cluster, and their directory with the
// last of them, and the SQL that was sent for it.
func (a *app) forget(cluster string) error {
	if err := a.removeSQL(cluster); err != nil {
		return err
	}
	dir := filepath.Join(a.home, clientDir)
	if err := os.RemoveAll(filepath.Join(dir, cluster)); err != nil {
		return err
	}
	_ = os.Remove(dir) // refused while other clusters have files there
	return nil
}

// treeArchive is the embedded tree, or nil where there is none.
func (a *app) treeArchive() fs.FS {
	sub, err := fs.Sub(a.assets.PostgresTree, "tree")
	if err != nil {
		return nil
	}
	return sub
}

// template returns the embedded template where it fits: made for this tree,
// and for a cluster with nothing but the defaults in it.
func (a *app) template(ctx context.Context, s appliance.Spec) *template.Template {
	archive := a.treeArchive()
	if archive == nil || s.Provider != appliance.ProviderLocal || s.PostgresBin != "" || len(s.SQL) > 0 {
		return nil
	}
	t, err := template.Open(archive)
	if err != nil {
		return nil
	}
	m := t.Manifest
	if s.Dataset != m.Dataset || s.Database != m.Database || s.Locale != m.Locale {
		return nil
	}
	if tm, err := tree.ReadManifest(archive); err != nil || tm.SHA256 != m.Tree {
		return nil
	}
	// A PostgreSQL of the host comes before the tree.
	if _, err := tree.Find(ctx, tree.Search{}); err == nil || ctx.Err() != nil {
		return nil
	}
	now := time.Now()
	a.hostAbsent.Store(&now)
	return t
}

// hostMemory is for how long the host is taken to have no PostgreSQL 17 when
// it had none: the plan looks, and in a moment the plan's step.
const hostMemory = 5 * time.Second

// binaries finds or unpacks the PostgreSQL of members on this machine.
func (a *app) binaries(ctx context.Context, s appliance.Spec) (tree.Binaries, error) {
	search := tree.Search{BinDir: s.PostgresBin, Archive: a.treeArchive(), UnpackDir: filepath.Join(a.home, binariesDir)}
	if absent := a.hostAbsent.Load(); absent != nil && time.Since(*absent) < hostMemory {
		search.HostDirs = []string{}
	}
	return tree.Find(ctx, search)
}

// dataset returns the files of an embedded data set.
func (a *app) dataset(name string) ([]postgres.LoadFile, error) {
	if name != appliance.DatasetPagila {
		return nil, appliance.NewProblem(appliance.ErrInternal, "no data set %q", name)
	}
	var out []postgres.LoadFile
	for _, f := range pagila.Files() {
		st, err := fs.Stat(a.assets.Pagila, f)
		if err != nil {
			return nil, fmt.Errorf("reading the embedded data set: %w", err)
		}
		out = append(out, postgres.LoadFile{
			Name: f, Size: st.Size(), AsOwner: true,
			Open: func() (io.ReadCloser, error) { return a.assets.Pagila.Open(f) },
		})
	}
	return out, nil
}

// daemonLogs writes the end of the daemon's own log, and with follow what
// comes, until ctx ends.
func (a *app) daemonLogs(ctx context.Context, follow bool, w io.Writer) error {
	args := []string{"-n", "200"}
	if follow {
		args = append(args, "-F")
	}
	cmd := exec.CommandContext(ctx, "tail", append(args, "--", filepath.Join(a.home, logName))...)
	cmd.Stdout = w
	if err := cmd.Run(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("reading the daemon's log: %w", err)
	}
	return nil
}

// psqlOf finds the psql that belongs to the cluster's server programs.
func psqlOf(_ context.Context, c appliance.Cluster) (string, error) {
	path := filepath.Join(c.PostgresBin, "psql")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("finding psql: %w", err)
	}
	return path, nil
}

// idempotency lets the API ask the store.
type idempotency struct{ st *store.Store }

// IdempotencyGet implements api.Idempotency.
func (i idempotency) IdempotencyGet(ctx context.Context, key string) ([32]byte, string, bool, error) {
	r, err := i.st.IdempotencyGet(ctx, key)
	if appliance.IsProblem(err, appliance.ErrNotFound) {
		return [32]byte{}, "", false, nil
	}
	return r.BodyHash, r.OperationID, err == nil, err
}

// IdempotencyPut implements api.Idempotency.
func (i idempotency) IdempotencyPut(ctx context.Context, key string, bodyHash [32]byte, operationID string) error {
	return i.st.IdempotencyPut(ctx, key, store.Record{BodyHash: bodyHash, OperationID: operationID, CreatedAt: time.Now().UTC()})
}
