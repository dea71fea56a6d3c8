package daemon

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/control"
	"pgapp/appliance/daemon/statebackup"
	"pgapp/appliance/daemon/supervise"
	"pgapp/appliance/endpoint/kernel"
	"pgapp/appliance/ha/watch"
	"pgapp/appliance/home"
	"pgapp/appliance/observe"
	"pgapp/appliance/op"
	"pgapp/appliance/plan"
	"pgapp/appliance/postgres"
	"pgapp/store"
)

// composition is everything that serves one state.
type composition struct {
	info    appliance.Info
	api     api.Config
	control *control.Controller // nil in recovery
	// recovered lets pgapp act by itself.
	recovered func()
	// close ends all work and closes the store. A repeat does nothing.
	close func()
	renewal
}

// compose puts the rooms together. With a damaged store the daemon serves
// recovery only.
func (s *server) compose(ctx context.Context, lock *store.HomeLock, info appliance.Info, log *slog.Logger) (*composition, error) {
	clearStaging(s.Home) // a killed restore may have left secrets there
	d := &composition{info: info}
	admin := &stateAdmin{home: s.Home, lock: lock, log: log, renew: d.renew}
	st, err := store.Open(ctx, s.Home, store.Options{Lock: lock})
	if err != nil {
		if !appliance.IsProblem(err, appliance.ErrStoreDamaged) && !appliance.IsProblem(err, appliance.ErrStoreNewer) {
			return nil, err
		}
		p := appliance.AsProblem(err)
		info.Mode, info.Reason = "recovery", p.Error()
		log.Error("the state can't be used: serving recovery only", "error", err)
		d.info, d.close = info, func() {}
		d.api = api.Config{
			Service: recovery{info, p}, Logs: recovery{info, p}, Operations: recovery{info, p}, Logger: log, Recovery: p, DaemonLogs: s.daemonLogs,
			State: admin, Held: d.heldBy,
		}
		return d, nil
	}
	admin.st = st
	closers := &closers{}
	closers.add(func() {
		if err := st.Close(); err != nil {
			log.Error("closing the state", "error", err)
		}
	})
	d.close = sync.OnceFunc(closers.run)
	if err := s.composeOn(ctx, st, admin, d, closers, log); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// composeOn puts the rooms together on an open store. Each part that has to be closed
// is added to the closers, which close it before the parts that it uses.
func (s *server) composeOn(ctx context.Context, st *store.Store, admin *stateAdmin, d *composition, closers *closers, log *slog.Logger) error {
	if err := ensureToken(ctx, st, s.Home); err != nil {
		return err
	}
	providers, closeProviders, err := providersOf(s.Home, st)
	if err != nil {
		return err
	}
	closers.add(closeProviders)
	backups, err := statebackup.New(s.Home, st, log)
	if err != nil {
		return err
	}
	memory := supervise.NewSignal()
	sent := sqlFiles{dir: s.Home, st: st, log: log}
	sent.sweep(ctx)
	sessions := &postgres.Sessions{}
	observer := observe.New(sessions)
	router := routerOf(s.Home, st, d, log)
	planner := plan.New(plan.Config{
		Endpoints: router,
		Store:     st, Providers: providers, Dataset: s.dataset, Template: s.template, HostPostgres: hostPostgres,
		Adopted: func(ctx context.Context, cluster string) error { return control.Adopted(ctx, st, cluster) },
		Forget:  s.forget, Loaded: sent.remove, Sessions: sessions, Observer: observer, Binaries: s.binaries,
	})
	// The runner is closed before the sessions that the controller closes.
	runner := op.New(ctx, op.Config{Store: st, Decide: planner.Decide, Plan: planner.Plan, End: planner.End, MayCancel: planner.MayCancel, Log: log, Idle: func() {
		memory.Set()
		backups.Wake()
		router.Wake()
	}})
	watcher := watch.New(watch.Config{
		Store: st, Providers: providers, Log: log, Looked: router.Looked, Lend: sessions,
		Submit: func(ctx context.Context, cluster string, kind appliance.OperationKind, p appliance.OperationParams) (appliance.Operation, error) {
			return d.control.Submit(ctx, cluster, kind, p)
		},
		Observing: func(ctx context.Context) (string, error) {
			o, err := control.GetObserveOnly(ctx, st)
			return o.Reason, err
		},
	})
	ctl := control.New(control.Config{
		Store: st, Runner: runner, Decide: planner.DecideOn, Preview: planner.Preview, Providers: providers, Info: d.info, Log: log, ClientDir: filepath.Join(s.Home, home.ClientDir),
		AutoProvider: func(ctx context.Context, spec appliance.Spec) (appliance.ProviderKind, string) {
			return autoProvider(ctx, providers, spec)
		},
		Psql: psqlOf, Settings: st, Observer: observer, Watching: watcher.Watching, Routes: router.Status, KernelEndpoints: kernel.Probe,
	})
	closers.add(func() { ctl.Close(context.WithoutCancel(ctx)) })
	closers.add(runner.Close)
	loops, err := supervise.Start(ctx, log, s.loops(backups, memory, watcher, router)...)
	if err != nil {
		return err
	}
	closers.add(loops.Close)
	d.control, admin.alone = ctl, ctl.Alone
	d.recovered = func() {
		router.Begin()
		watcher.Begin()
	}
	d.api = api.Config{
		DaemonLogs: s.daemonLogs,
		Ready: func(ctx context.Context) error {
			_, err := st.Clusters(ctx)
			return err
		},
		Service: service{ctl, loops}, Logs: ctl, Operations: runner, Tokens: tokens{st}, TokenAdmin: tokens{st}, Idempotency: idempotency{st}, Logger: log,
		SQLFiles: sent, State: admin, Adopter: adopter{ctl, backups}, Held: d.heldBy, Pauses: control.NewPauses(st, st), Machines: machinesOf(ctl, st, providers),
		Benches: benches{dir: s.Home, st: st},
	}
	return nil
}

// closers are functions that are called in the opposite order of their addition.
type closers struct{ all []func() }

func (c *closers) add(f func()) { c.all = append(c.all, f) }

func (c *closers) run() {
	for _, f := range slices.Backward(c.all) {
		f()
	}
}

// service is the controller with the failures of the daemon's loops in its Info.
type service struct {
	*control.Controller
	loops *supervise.Supervisor
}

// Info describes the daemon, with its loops that have failed.
func (s service) Info(ctx context.Context) appliance.Info {
	info := s.Controller.Info(ctx)
	info.Loops = s.loops.Failures()
	return info
}

// forget removes the clients' files of a cluster and the SQL that was sent for it.
func (s *server) forget(cluster string) error {
	if err := removeSQL(s.Home, cluster); err != nil {
		return err
	}
	dir := filepath.Join(s.Home, home.ClientDir)
	if err := os.RemoveAll(filepath.Join(dir, cluster)); err != nil {
		return err
	}
	_ = os.Remove(dir) // refused while other clusters have files there
	return nil
}
