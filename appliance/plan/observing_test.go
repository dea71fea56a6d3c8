package plan_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"pgapp/appliance"
	"pgapp/store"
)

// underDone is the context key under which Done finds its step's id.
type underDone struct{}

// onlyObserving runs each Done with a context for which this file's stores and
// machines refuse to write.
func onlyObserving(steps []appliance.Step) []appliance.Step {
	for i, s := range steps {
		if s.Done != nil {
			steps[i].Done = func(ctx context.Context) (bool, error) {
				return s.Done(context.WithValue(ctx, underDone{}, s.ID))
			}
		}
	}
	return steps
}

// refuse fails the test and returns an error if ctx is that of a Done.
func refuse(ctx context.Context, t *testing.T, what string) error {
	id, ok := ctx.Value(underDone{}).(string)
	if !ok {
		return nil
	}
	t.Errorf("Done of step %s: %s", id, what)
	return errors.New("a Done writes")
}

// guardedStore refuses writes by a Done.
type guardedStore struct {
	*store.Store
	t *testing.T
	// around, if set, is called before and after each change of a cluster's record, and
	// may fail it.
	around func(after bool) error
}

func (s guardedStore) UpdateCluster(ctx context.Context, name string, change func(*appliance.Cluster) error) (appliance.Cluster, error) {
	if err := refuse(ctx, s.t, "changes the record"); err != nil {
		return appliance.Cluster{}, err
	}
	if s.around == nil {
		return s.Store.UpdateCluster(ctx, name, change)
	}
	if err := s.around(false); err != nil {
		return appliance.Cluster{}, err
	}
	c, err := s.Store.UpdateCluster(ctx, name, change)
	return c, errors.Join(err, s.around(true))
}

func (s guardedStore) UpdateSecrets(ctx context.Context, cluster string, change func(*appliance.Secrets) error) error {
	if err := refuse(ctx, s.t, "changes the secrets"); err != nil {
		return err
	}
	return s.Store.UpdateSecrets(ctx, cluster, change)
}

// guardedProvider refuses changes of machines by a Done.
type guardedProvider struct {
	appliance.Provider
	t *testing.T
	// machine, if set, makes the machines instead of the provider.
	machine func(appliance.Member) appliance.Machine
	// written, if set, is called when a file of the member was written.
	written func(member string, data []byte)
}

func (p guardedProvider) Machine(c appliance.Cluster, m appliance.Member) appliance.Machine {
	if p.machine != nil {
		return guardedMachine{p.machine(m), nil, p.t, nil}
	}
	mc := p.Provider.Machine(c, m)
	tree, _ := mc.(appliance.TreeWriter)
	written := func([]byte) {}
	if p.written != nil {
		written = func(data []byte) { p.written(m.Name, data) }
	}
	return guardedMachine{mc, tree, p.t, written}
}

func (p guardedProvider) StartMachine(ctx context.Context, c appliance.Cluster, m appliance.Member, report appliance.Report) error {
	if err := refuse(ctx, p.t, "starts a machine"); err != nil {
		return err
	}
	return p.Provider.StartMachine(ctx, c, m, report)
}

func (p guardedProvider) StopMachine(ctx context.Context, c appliance.Cluster, m appliance.Member, report appliance.Report) error {
	if err := refuse(ctx, p.t, "stops a machine"); err != nil {
		return err
	}
	return p.Provider.StopMachine(ctx, c, m, report)
}

// SetSize and ApplySize make guardedProvider a provider of machines with a size.
func (p guardedProvider) SetSize(ctx context.Context, _ appliance.Cluster, _ appliance.Member, _ appliance.MachineSize) error {
	return refuse(ctx, p.t, "sets a size")
}

func (p guardedProvider) ApplySize(ctx context.Context, _ appliance.Cluster, _ appliance.Member, _ appliance.MachineSize, _ appliance.Report) (bool, error) {
	return false, refuse(ctx, p.t, "applies a size")
}

type guardedMachine struct {
	appliance.Machine
	tree appliance.TreeWriter
	t    *testing.T
	// written, if set, is called with each file that was written.
	written func(data []byte)
}

// writers are programs that change files or servers.
var writers = []string{"initdb", "pg_basebackup", "pg_ctl", "pg_rewind", "rm ", "rmdir ", "mv ", "mkdir ", "touch ", "cp ", "ln ", "sync "}

func (m guardedMachine) Run(ctx context.Context, c appliance.Command) (appliance.Result, error) {
	for _, w := range writers {
		if strings.Contains(strings.Join(c.Argv, " ")+" ", w) {
			if err := refuse(ctx, m.t, "runs "+w); err != nil {
				return appliance.Result{}, err
			}
		}
	}
	return m.Machine.Run(ctx, c)
}

func (m guardedMachine) WriteFile(ctx context.Context, path string, data []byte, mode fs.FileMode) error {
	if err := refuse(ctx, m.t, "writes "+path); err != nil {
		return err
	}
	err := m.Machine.WriteFile(ctx, path, data, mode)
	if err == nil && m.written != nil {
		m.written(data)
	}
	return err
}

func (m guardedMachine) WriteTree(ctx context.Context, dir string, files appliance.TreeFiles) error {
	if err := refuse(ctx, m.t, "writes "+dir); err != nil {
		return err
	}
	return m.tree.WriteTree(ctx, dir, files)
}

func (m guardedMachine) StartServer(ctx context.Context) error {
	if err := refuse(ctx, m.t, "starts a server"); err != nil {
		return err
	}
	return m.Machine.StartServer(ctx)
}

func (m guardedMachine) StopServer(ctx context.Context, mode appliance.StopMode) error {
	if err := refuse(ctx, m.t, "stops a server"); err != nil {
		return err
	}
	return m.Machine.StopServer(ctx, mode)
}

func (m guardedMachine) Fence(ctx context.Context) error {
	if err := refuse(ctx, m.t, "fences a member"); err != nil {
		return err
	}
	return m.Machine.Fence(ctx)
}
