package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"pgapp/appliance"
	"pgapp/appliance/durable"
)

// CreateSteps returns "host", which checks and prepares this machine, and
// "machine/<member>" for each member.
func (p *Provider) CreateSteps(c appliance.Cluster, members []appliance.Member) []appliance.Step {
	steps := []appliance.Step{{
		ID: "host", Title: "check this machine", Kind: appliance.StepHost,
		Done: func(ctx context.Context) (bool, error) {
			ready := p.account.exists() && p.clusterDirReady(c)
			return ready && p.checkHost(ctx, c, members) == nil, ctx.Err()
		},
		Do: func(ctx context.Context, _ appliance.Report) error { return p.readyHost(ctx, c, members) },
	}}
	for _, m := range members {
		mc := p.machine(c, m)
		steps = append(steps, appliance.Step{
			ID: "machine/" + m.Name, Title: "make the member's directory", Member: m.Name, Kind: appliance.StepMachine, After: []string{"host"},
			Done: func(context.Context) (bool, error) { return mc.made() },
			Do:   func(ctx context.Context, _ appliance.Report) error { return mc.make(ctx) },
		})
	}
	return steps
}

// DestroySteps returns "remove/<member>" for each member, and "remove-cluster"
// for the cluster's directory and account.
func (p *Provider) DestroySteps(c appliance.Cluster, members []appliance.Member) []appliance.Step {
	var steps []appliance.Step
	var after []string
	for _, m := range members {
		mc := p.machine(c, m)
		steps = append(steps, appliance.Step{
			ID: "remove/" + m.Name, Title: "remove the member and its data", Member: m.Name, Kind: appliance.StepRemove,
			Done: func(context.Context) (bool, error) { return mc.removed() },
			Do:   func(ctx context.Context, _ appliance.Report) error { return mc.remove(ctx) },
		})
		after = append(after, "remove/"+m.Name)
	}
	return append(steps, appliance.Step{
		ID: "remove-cluster", Title: "remove what the members shared", After: after,
		Done: func(context.Context) (bool, error) { return p.clusterRemoved(c) },
		Do:   func(ctx context.Context, _ appliance.Report) error { return p.removeCluster(ctx, c) },
	})
}

func clusterMarker(c appliance.Cluster) marker { return marker{ClusterUUID: c.UUID, Cluster: c.Name} }

// readyHost checks this machine, then prepares it. A failed check changes
// nothing.
func (p *Provider) readyHost(ctx context.Context, c appliance.Cluster, members []appliance.Member) error {
	if err := p.openHome(); err != nil {
		return err
	}
	if err := p.checkHost(ctx, c, members); err != nil {
		return err
	}
	p.accounts.Lock()
	defer p.accounts.Unlock()
	if err := p.account.ensure(ctx); err != nil {
		return err
	}
	if err := p.checkPassage(ctx); err != nil {
		return err
	}
	return p.makeClusterDir(ctx, c)
}

// clusterDirReady reports whether makeClusterDir's work is complete.
func (p *Provider) clusterDirReady(c appliance.Cluster) bool {
	own, err := dirOwnership(p.clusterDir(c.Name), clusterMarker(c))
	return err == nil && own == ours && passable(p.clusterDir(c.Name)) && passable(p.clustersDir())
}

func passable(dir string) bool {
	st, err := os.Stat(dir)
	return err == nil && st.Mode().Perm()&passMode == passMode
}

// makeClusterDir makes the cluster's directory under a temporary name and
// renames the complete directory into place. An empty directory there is
// replaced. A repeat is safe.
func (p *Provider) makeClusterDir(ctx context.Context, c appliance.Cluster) error {
	dir := p.clusterDir(c.Name)
	if err := os.Mkdir(p.clustersDir(), passMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making %q: %w", p.clustersDir(), err)
	}
	own, err := dirOwnership(dir, clusterMarker(c))
	if err != nil {
		return err
	}
	if own != ours {
		if err := p.placeClusterDir(ctx, c); err != nil {
			return err
		}
	}
	for _, d := range []string{p.clustersDir(), dir} {
		if err := os.Chmod(d, passMode); err != nil { // Mkdir applied the umask
			return fmt.Errorf("opening %q for passage: %w", d, err)
		}
	}
	return nil
}

func (p *Provider) placeClusterDir(ctx context.Context, c appliance.Cluster) error {
	tmp, _ := p.clusterLeftovers(c)
	if err := removeTree(ctx, tmp); err != nil {
		return err
	}
	if err := os.Mkdir(tmp, passMode); err != nil {
		return fmt.Errorf("making the directory of cluster %q: %w", c.Name, err)
	}
	if err := writeMarker(tmp, clusterMarker(c)); err != nil {
		return err
	}
	// Unlike os.Rename, rename(2) replaces an empty directory.
	err := syscall.Rename(tmp, p.clusterDir(c.Name))
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.ENOTDIR) {
		return errors.Join(foreignProblem(p.clusterDir(c.Name), c.Name), os.RemoveAll(tmp))
	}
	if err != nil {
		return fmt.Errorf("moving the directory of cluster %q into place: %w", c.Name, err)
	}
	return durable.SyncDir(p.clustersDir())
}

// made reports whether make's work is complete.
func (m *place) made() (bool, error) {
	own, err := m.owned()
	if err != nil || own != ours {
		return false, err
	}
	i, err := m.p.account.lookup()
	if err != nil {
		return false, nil //nolint:nilerr // without its user the member doesn't exist yet
	}
	st, err := os.Lstat(m.dir)
	if err != nil {
		return false, fmt.Errorf("looking at %q: %w", m.dir, err)
	}
	return ownerOf(st) == i.uid && st.Mode().Perm() == privateMode && m.runtimeReady(i), nil
}

func (m *place) make(ctx context.Context) error {
	own, err := m.owned()
	if err != nil {
		return err
	}
	if own == foreign {
		return foreignProblem(m.dir, m.cluster)
	}
	i, err := m.p.account.lookup()
	if err != nil {
		return err
	}
	if own == absent {
		if err := m.makeMemberDir(ctx, i); err != nil {
			return err
		}
	}
	if err := os.Chmod(m.dir, privateMode); err != nil {
		return fmt.Errorf("closing %q to others: %w", m.dir, err)
	}
	return m.makeRuntime(i)
}

// leftovers returns the directories that an interrupted make or remove leaves.
// Their names contain the cluster's UUID.
func (m *place) leftovers() (unmade, removed string) {
	base := filepath.Join(filepath.Dir(m.dir), "."+m.member)
	return base + ".new-" + shortUUID(m.uuid), base + ".gone-" + shortUUID(m.uuid)
}

// removed reports whether nothing of the member is left. A foreign directory in
// its place doesn't count.
func (m *machine) removed() (bool, error) {
	own, err := m.owned()
	if err != nil || own == ours {
		return false, err
	}
	unmade, gone := m.leftovers()
	if anyExists(unmade, gone) {
		return false, nil
	}
	if i, err := m.p.account.lookup(); err == nil && ownSocketDir(m.shortSocketDir(), i.uid) {
		return false, nil
	}
	return len(m.p.cgroups.existing(m.tag())) == 0, nil
}

// remove fences the member, renames its directory and then removes it, so that
// an interrupted remove never leaves a directory in place without a marker. A
// repeat is safe.
func (m *machine) remove(ctx context.Context) error {
	if err := m.Fence(ctx); err != nil {
		return err
	}
	own, err := m.owned()
	if err != nil {
		return err
	}
	unmade, gone := m.leftovers()
	if err := removeTree(ctx, gone); err != nil {
		return err
	}
	if own == ours {
		if err := os.Rename(m.dir, gone); err != nil {
			return fmt.Errorf("taking %q out of the way: %w", m.dir, err)
		}
	}
	for _, dir := range []string{gone, unmade} {
		if err := removeTree(ctx, dir); err != nil {
			return err
		}
	}
	if i, err := m.p.account.lookup(); err == nil && ownSocketDir(m.shortSocketDir(), i.uid) {
		return removeTree(ctx, m.shortSocketDir())
	}
	return nil
}

// clusterLeftovers returns the directories that an interrupted makeClusterDir or
// removeCluster leaves.
func (p *Provider) clusterLeftovers(c appliance.Cluster) (unmade, removed string) {
	base := filepath.Join(p.clustersDir(), "."+c.Name)
	return base + ".new-" + shortUUID(c.UUID), base + ".gone-" + shortUUID(c.UUID)
}

// clusterRemoved reports whether removeCluster's work is complete.
func (p *Provider) clusterRemoved(c appliance.Cluster) (bool, error) {
	own, err := dirOwnership(p.clusterDir(c.Name), clusterMarker(c))
	if err != nil || own == ours {
		return false, err
	}
	if unmade, gone := p.clusterLeftovers(c); anyExists(unmade, gone) {
		return false, nil
	}
	if entries, err := os.ReadDir(p.clustersDir()); err == nil && len(entries) == 0 {
		return false, nil
	}
	return !p.account.made() || p.hasClusters(), nil
}

// removeCluster removes the cluster's directory unless it contains foreign
// files, and after the last cluster the account that pgapp created. A repeat is
// safe.
func (p *Provider) removeCluster(ctx context.Context, c appliance.Cluster) error {
	p.accounts.Lock()
	defer p.accounts.Unlock()
	own, err := dirOwnership(p.clusterDir(c.Name), clusterMarker(c))
	if err != nil {
		return err
	}
	if own == ours {
		if err := p.displaceClusterDir(c); err != nil {
			return err
		}
	}
	unmade, gone := p.clusterLeftovers(c)
	for _, dir := range []string{unmade, gone} {
		if err := removeTree(ctx, dir); err != nil {
			return err
		}
	}
	if p.hasClusters() {
		return nil
	}
	_ = os.Remove(p.clustersDir()) // fails if the directory isn't empty
	return p.account.remove(ctx)
}

// displaceClusterDir renames the cluster's directory, or removes only the marker
// if the directory contains other files.
func (p *Provider) displaceClusterDir(c appliance.Cluster) error {
	dir := p.clusterDir(c.Name)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading %q: %w", dir, err)
	}
	if _, gone := p.clusterLeftovers(c); len(entries) == 1 {
		// A directory left by an earlier removal is empty or pgapp's.
		if err := os.RemoveAll(gone); err != nil {
			return fmt.Errorf("removing %q: %w", gone, err)
		}
		err = os.Rename(dir, gone)
	} else {
		err = os.Remove(filepath.Join(dir, markerFile))
	}
	if err != nil {
		return fmt.Errorf("removing the directory of cluster %q: %w", c.Name, err)
	}
	return nil
}

func anyExists(paths ...string) bool {
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil {
			return true
		}
	}
	return false
}

// hasClusters reports whether the home contains a cluster.
func (p *Provider) hasClusters() bool {
	left, err := filepath.Glob(filepath.Join(globEscape(p.clustersDir()), "*", markerFile))
	return err == nil && len(left) > 0
}

// globEscape escapes the characters of path that filepath.Glob would interpret.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}
