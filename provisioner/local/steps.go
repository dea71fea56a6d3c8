package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"pgapp/appliance"
)

// CreateSteps are "host", which checks and readies this machine, and
// "machine/<member>" for each member.
func (p *Provider) CreateSteps(c appliance.Cluster, members []appliance.Member) []appliance.Step {
	steps := []appliance.Step{{
		ID: "host", Title: "check this machine",
		Done: func(ctx context.Context) (bool, error) {
			ready := p.account.exists() && p.clusterDirReady(c)
			return ready && p.checkHost(ctx, c, members) == nil, ctx.Err()
		},
		Do: func(ctx context.Context, _ appliance.Report) error { return p.readyHost(ctx, c, members) },
	}}
	for _, m := range members {
		mc := p.machine(c, m)
		steps = append(steps, appliance.Step{
			ID: "machine/" + m.Name, Title: "make the member's directory", Member: m.Name, After: []string{"host"},
			Done: func(context.Context) (bool, error) { return mc.made() },
			Do:   func(ctx context.Context, _ appliance.Report) error { return mc.make(ctx) },
		})
	}
	return steps
}

// DestroySteps are "remove/<member>" for each member, and "remove-cluster"
// for what they share.
func (p *Provider) DestroySteps(c appliance.Cluster, members []appliance.Member) []appliance.Step {
	var steps []appliance.Step
	var after []string
	for _, m := range members {
		mc := p.machine(c, m)
		steps = append(steps, appliance.Step{
			ID: "remove/" + m.Name, Title: "remove the member and its data", Member: m.Name,
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

// readyHost checks first, so that a machine that can't is left as it was.
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
	return p.makeClusterDir(c)
}

// clusterDirReady observes what makeClusterDir makes.
func (p *Provider) clusterDirReady(c appliance.Cluster) bool {
	own, err := dirOwnership(p.clusterDir(c.Name), clusterMarker(c))
	return err == nil && own == ours && passable(p.clusterDir(c.Name)) && passable(p.clustersDir())
}

func passable(dir string) bool {
	st, err := os.Stat(dir)
	return err == nil && st.Mode().Perm()&passMode == passMode
}

// makeClusterDir makes the cluster's directory. One without a marker may be
// of other parts of pgapp, which keep files of the cluster there, and is
// taken; one with another cluster's marker is not.
func (p *Provider) makeClusterDir(c appliance.Cluster) error {
	dir := p.clusterDir(c.Name)
	for _, d := range []string{p.clustersDir(), dir} {
		if err := os.Mkdir(d, passMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("making %q: %w", d, err)
		}
		if err := os.Chmod(d, passMode); err != nil { // whatever the umask was
			return fmt.Errorf("opening %q for passage: %w", d, err)
		}
	}
	own, err := dirOwnership(dir, clusterMarker(c))
	if err != nil || own == ours {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, markerFile)); err == nil {
		return foreignProblem(dir, c.Name)
	}
	return writeMarker(dir, clusterMarker(c))
}

// made observes that the member's machine is as make leaves it.
func (m *machine) made() (bool, error) {
	own, err := m.owned()
	if err != nil || own != ours {
		return false, err
	}
	i, err := m.p.account.lookup()
	if err != nil {
		return false, nil //nolint:nilerr // without its user the member isn't made yet
	}
	st, err := os.Lstat(m.dir)
	if err != nil {
		return false, fmt.Errorf("looking at %q: %w", m.dir, err)
	}
	return ownerOf(st) == i.uid && st.Mode().Perm() == privateMode && m.runtimeReady(i), nil
}

func (m *machine) make(ctx context.Context) error {
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

// leftovers are the directories that a make or remove cut short leaves; their
// names carry the cluster's UUID.
func (m *machine) leftovers() (unmade, removed string) {
	base := filepath.Join(filepath.Dir(m.dir), "."+m.member)
	return base + ".new-" + shortUUID(m.uuid), base + ".gone-" + shortUUID(m.uuid)
}

// removed observes that nothing of the member is left. What is in its place
// and not ours doesn't count.
func (m *machine) removed() (bool, error) {
	own, err := m.owned()
	if err != nil || own == ours {
		return false, err
	}
	unmade, gone := m.leftovers()
	for _, dir := range []string{unmade, gone} {
		if _, err := os.Lstat(dir); err == nil {
			return false, nil
		}
	}
	if i, err := m.p.account.lookup(); err == nil && ownSocketDir(m.shortSocketDir(), i.uid) {
		return false, nil
	}
	return len(m.p.cgroups.existing(m.tag())) == 0, nil
}

// remove fences the member and then takes its directory away under another
// name: cut short, it never leaves half a directory without our marker.
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

// goneDir is where a cluster's directory is taken to be removed.
func (p *Provider) goneDir(c appliance.Cluster) string {
	return filepath.Join(p.clustersDir(), "."+c.Name+".gone-"+shortUUID(c.UUID))
}

// clusterRemoved observes that the cluster's own things are gone.
func (p *Provider) clusterRemoved(c appliance.Cluster) (bool, error) {
	own, err := dirOwnership(p.clusterDir(c.Name), clusterMarker(c))
	if err != nil || own == ours {
		return false, err
	}
	if _, err := os.Lstat(p.goneDir(c)); err == nil {
		return false, nil
	}
	return !p.account.made() || p.hasClusters(), nil
}

// removeCluster removes the cluster's files, then its directory unless
// something foreign is in it, and after the last cluster the account that we
// made. Other directories than members' are not ours to remove.
func (p *Provider) removeCluster(ctx context.Context, c appliance.Cluster) error {
	p.accounts.Lock()
	defer p.accounts.Unlock()
	own, err := dirOwnership(p.clusterDir(c.Name), clusterMarker(c))
	if err != nil {
		return err
	}
	if own == ours {
		if err := p.emptyClusterDir(c); err != nil {
			return err
		}
	}
	if err := removeTree(ctx, p.goneDir(c)); err != nil {
		return err
	}
	if p.hasClusters() {
		return nil
	}
	_ = os.Remove(p.clustersDir()) // stays where it isn't empty
	return p.account.remove(ctx)
}

func (p *Provider) emptyClusterDir(c appliance.Cluster) error {
	dir := p.clusterDir(c.Name)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading %q: %w", dir, err)
	}
	kept := false
	for _, e := range entries {
		switch {
		case e.IsDir():
			kept = true
		case e.Name() != markerFile:
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("removing %q: %w", e.Name(), err)
			}
		}
	}
	if kept {
		err = os.Remove(filepath.Join(dir, markerFile))
	} else {
		err = os.Rename(dir, p.goneDir(c))
	}
	if err != nil {
		return fmt.Errorf("removing the directory of cluster %q: %w", c.Name, err)
	}
	return nil
}

// hasClusters tells whether any cluster is left in this home.
func (p *Provider) hasClusters() bool {
	left, err := filepath.Glob(filepath.Join(globEscape(p.clustersDir()), "*", markerFile))
	return err == nil && len(left) > 0
}

// globEscape keeps a home's name from being taken for a pattern.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}
