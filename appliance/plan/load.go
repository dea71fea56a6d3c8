package plan

import (
	"context"
	"io"
	"os"
	"slices"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// loaded tells whether the database is loaded, by the mark that a load leaves in
// the database. A database without a mark comes from an older release or from
// another program; then the record tells.
func (w work) loaded(ctx context.Context) (done bool, err error) {
	err = w.inPrimary(ctx, func(f facts, c *postgres.Control) error {
		state, err := c.LoadState(ctx, f.cluster.Spec.Database)
		if err != nil {
			return err
		}
		done = state == postgres.LoadFinished
		if state == postgres.LoadForeign {
			done, err = w.loadedBefore(ctx, f.cluster)
		}
		return err
	})
	return done, err
}

// loadedBefore tells whether an earlier operation has loaded the cluster's
// database. Either an up has succeeded, or the load step of an up has run and has not
// just found a database of that name.
func (w work) loadedBefore(ctx context.Context, c appliance.Cluster) (bool, error) {
	if !unused(c) {
		return true, nil
	}
	all, err := w.cfg.Store.Operations(ctx, c.Name)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(all, func(o appliance.Operation) bool {
		return o.Kind == appliance.OpUp && slices.ContainsFunc(o.Steps, func(s appliance.StepRecord) bool {
			return s.ID == "load" && s.State == appliance.StepDone && !s.AlreadyDone
		})
	}), nil
}

// unused tells whether the cluster has not been handed out yet.
func unused(c appliance.Cluster) bool {
	return c.Phase == appliance.PhaseCreating || c.Phase == appliance.PhaseFailed
}

func (w work) load(ctx context.Context, report appliance.Report) error {
	return w.on(ctx, w.primaryName(ctx), func(f facts, m appliance.Member, mc appliance.Machine) error {
		var files []postgres.LoadFile
		if f.cluster.Spec.Dataset != appliance.DatasetNone {
			set, err := w.cfg.Dataset(f.cluster.Spec.Dataset)
			if err != nil {
				return err
			}
			files = append(files, set...)
		}
		for _, path := range f.cluster.Spec.SQL {
			file, err := sqlFile(path)
			if err != nil {
				return err
			}
			files = append(files, file)
		}
		return postgres.LoadDatabase(ctx, mc, m.Port, postgres.LoadOptions{
			Database: f.cluster.Spec.Database, Files: files, Locale: f.cluster.Spec.Locale, Alone: unused(f.cluster),
		}, report)
	})
}

func sqlFile(path string) (postgres.LoadFile, error) {
	size, err := appliance.CheckSQLFile(path)
	if err != nil {
		return postgres.LoadFile{}, appliance.NewProblem(appliance.ErrSQL, "reading the SQL file: %w", err).
			WithHint("the file has to be readable by the daemon until the load is over")
	}
	return postgres.LoadFile{
		Name: path, Size: size,
		Open: func() (io.ReadCloser, error) { return os.Open(path) },
	}, nil
}
