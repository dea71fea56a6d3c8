package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/bench/share"
	"pgapp/appliance/drill"
	"pgapp/appliance/wait"
)

const (
	// membersPart is the part of the processors that all members get together by default;
	// the rest is the driver's and the daemon's.
	membersPart = 0.6
	// shareDigits is how many digits of a core a default share has.
	shareDigits = 100
	// releaseLimit bounds the wait for the end of killed processes.
	releaseLimit = 30 * time.Second
)

// benchShares give each local member the same share of the processors. The zero value
// gives none.
type benchShares struct {
	hands benchHands
	cores float64
	// sets are those that still have shares, the newest last.
	sets []*share.Set
	// machines are the virtual machines that ran when the shares were given.
	machines []string
}

// defaultShare is each member's share, so that all members and the driver fit in.
func defaultShare(cores, members int) float64 {
	return max(math.Floor(float64(cores)*membersPart/float64(members)*shareDigits), 1) / shareDigits
}

// shares finds out which share each member has or gets. Where there can be none, it returns
// none and says why in a note; asked for by the user, that is an error.
func (h benchHands) shares(ctx context.Context, s appliance.ClusterStatus, cores int, asked *float64) (of *benchShares, note string, err error) {
	of = &benchShares{hands: h, cores: defaultShare(cores, len(s.Members))}
	if asked != nil {
		of.cores = *asked
	}
	if machines(s) {
		if asked != nil && *asked != 0 && *asked != float64(s.Spec.VCPUs) {
			return nil, "", appliance.NewProblem(appliance.ErrUsage, "--share is for local members; each virtual machine has %d processors", s.Spec.VCPUs).
				WithHint("pgapp up --vcpus changes that")
		}
		of.cores = float64(s.Spec.VCPUs)
	}
	if asked != nil && *asked == 0 {
		of.cores = 0
		return of, "members have no equal shares of the processors, by --share 0", nil
	}
	err = errors.Join(of.apply(ctx), of.putBack(ctx))
	switch {
	case err == nil:
		return of, "", nil
	case asked != nil || appliance.IsProblem(err, appliance.ErrUsage) || ctx.Err() != nil:
		return nil, "", err
	}
	of.cores = 0
	return of, "members have no equal shares of the processors: " + clean(err.Error()), nil
}

// machines tells whether a member is a virtual machine.
func machines(s appliance.ClusterStatus) bool {
	for _, m := range s.Members {
		if m.Placement == appliance.PlacementVM {
			return true
		}
	}
	return false
}

// apply gives each local member that runs its share, until release.
func (b *benchShares) apply(ctx context.Context) error {
	if b.cores == 0 {
		return nil
	}
	pids, machines, err := b.hands.servers(ctx)
	if err != nil {
		return err
	}
	b.machines = machines
	set, err := share.Find(pids)
	if err != nil {
		return err
	}
	b.sets = append(b.sets, set)
	return set.Apply(b.cores)
}

// release takes the shares away, so that members start and stop at full speed. The group
// of a member that was killed may have to wait for its processes' end.
func (b *benchShares) release() error {
	var errs []error
	b.sets = slices.DeleteFunc(b.sets, func(set *share.Set) bool {
		err := set.PutBack()
		errs = append(errs, err)
		return err == nil
	})
	return errors.Join(errs...)
}

// putBack takes all shares away, also after ctx has ended.
func (b *benchShares) putBack(ctx context.Context) error { return unshared(ctx, b.release) }

// unshared takes shares away, also after ctx has ended. The kernel keeps a group until its
// last process has ended, and a server's sessions need a moment for that.
func unshared(ctx context.Context, takeAway func() error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseLimit)
	defer cancel()
	var last error
	err := wait.Until(ctx, pollEvery, func(context.Context) (bool, error) {
		last = takeAway()
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("taking away the members' shares of the processors: %w", last)
	}
	return nil
}

// useLimit bounds the question for what a virtual machine has used.
const useLimit = 5 * time.Second

// used is what each member has used so far, in seconds of a processor, where it can be
// measured. A virtual machine's is what QEMU has used for it.
func (b *benchShares) used(ctx context.Context) map[string]float64 {
	if len(b.sets) == 0 {
		return nil
	}
	out, _ := b.sets[len(b.sets)-1].Used() // one that was killed may be gone
	ctx, cancel := context.WithTimeout(ctx, useLimit)
	defer cancel()
	for _, name := range b.machines {
		if u, err := b.hands.api.Use(ctx, b.hands.cluster, name); err == nil { // the report shows what is missing
			out[name] = u.ProcessorSeconds
		}
	}
	return out
}

// servers are the members that run: the first processes of the local ones, and the names
// of those that are virtual machines.
func (h benchHands) servers(ctx context.Context) (local map[string]int, machines []string, err error) {
	s, err := h.api.Status(ctx, h.cluster)
	if err != nil {
		return nil, nil, err
	}
	conn, err := h.api.Connection(ctx, h.cluster, roleAdmin, false)
	if err != nil {
		return nil, nil, err
	}
	hosts, err := h.onlyKind(conn.Hosts, drill.ThroughMembers)
	if err != nil {
		return nil, nil, err
	}
	local = map[string]int{}
	for _, at := range started(hosts, s) {
		switch {
		case at.Local == nil:
		case at.Local.Machine:
			machines = append(machines, at.Member)
		default:
			server, err := drill.FindServer(filepath.Join(at.Local.SocketDir, socketLock(at.Port)))
			if err != nil {
				return nil, nil, err
			}
			local[at.Member] = server.PID()
		}
	}
	return local, machines, nil
}

// use measures what members use of the processors while a load runs.
type use struct {
	// used is what has been used so far, in seconds.
	used   func() map[string]float64
	mu     sync.Mutex // where a load is interrupted, its end may come beside its begin
	from   time.Time
	before map[string]float64
	// cores is what each member has used from begin to end, where it could be measured.
	cores map[string]float64
}

// begin notes what has been used so far.
func (u *use) begin() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.from, u.before = time.Now(), u.used()
}

// end sets what has been used since. What follows a load, as the wait for a killed primary
// to come back, is not part of it.
func (u *use) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.before == nil {
		return
	}
	after := u.used()
	took := time.Since(u.from).Seconds()
	u.cores = map[string]float64{}
	for name, seconds := range after {
		if before, ok := u.before[name]; ok && seconds >= before {
			u.cores[name] = (seconds - before) / took
		}
	}
}
