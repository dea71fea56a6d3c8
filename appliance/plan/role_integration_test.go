//go:build integration

package plan_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
	"pgapp/provisioner/local"
)

// create makes a cluster of a primary and standbys.
func (h *home) create(standbys int) {
	h.t.Helper()
	s := appliance.Spec{Name: "main", Provider: appliance.ProviderLocal, Standbys: &standbys, Dataset: appliance.DatasetNone, Database: "shop", EndpointSpec: noEndpoints()}
	c, r := h.daemon(nil)
	defer r.Close()
	o, err := c.Up(h.t.Context(), s, appliance.UpOptions{})
	h.must(err)
	h.succeeded(follow(h.t, r, o.ID))
}

func (h *home) succeeded(o appliance.Operation) {
	h.t.Helper()
	if o.State != appliance.OpSucceeded {
		detail := ""
		if o.Error != nil {
			detail = o.Error.Detail
		}
		h.t.Fatalf("operation %s is %s: %v\n%s", o.Kind, o.State, o.Error, detail)
	}
}

// do runs one operation to its end.
func (h *home) do(kind appliance.OperationKind, p appliance.OperationParams) appliance.Operation {
	h.t.Helper()
	c, r := h.daemon(nil)
	defer r.Close()
	o, err := c.Submit(h.t.Context(), "main", kind, p)
	h.must(err)
	return follow(h.t, r, o.ID)
}

func (h *home) record() appliance.Cluster {
	h.t.Helper()
	c, err := h.st.Cluster(h.t.Context(), "main")
	h.must(err)
	return c
}

func (h *home) edit(change func(*appliance.Cluster)) {
	h.t.Helper()
	_, err := h.st.UpdateCluster(h.t.Context(), "main", func(c *appliance.Cluster) error {
		change(c)
		return nil
	})
	h.must(err)
}

func (h *home) machine(member string) appliance.Machine {
	h.t.Helper()
	c := h.record()
	m, _ := c.Member(member)
	return local.New(local.Config{Home: h.dir, FirstBlock: h.block}).Machine(c, m)
}

// control opens a session to the member.
func (h *home) control(member string) *postgres.Control {
	h.t.Helper()
	m, _ := h.record().Member(member)
	s, err := h.st.Secrets(h.t.Context(), "main")
	h.must(err)
	c, err := postgres.Connect(h.t.Context(), m.Host, m.Port, postgres.MaintenanceDatabase, s.Get(appliance.SecretControl))
	h.must(err)
	h.t.Cleanup(func() { _ = c.Close(context.WithoutCancel(h.t.Context())) })
	return c
}

func (h *home) seen(member string) postgres.Observation {
	h.t.Helper()
	o, err := h.control(member).Observe(h.t.Context())
	h.must(err)
	return o
}

// signal is the path of the member's standby.signal.
func (h *home) signal(member string) string {
	return filepath.Join(h.machine(member).Layout().DataDir, "standby.signal")
}

// byHand starts the member's server as it is, as a person would.
func (h *home) byHand(member string) {
	h.t.Helper()
	m, _ := h.record().Member(member)
	h.must(h.machine(member).StartServer(h.t.Context()))
	h.must(postgres.WaitAccepting(h.t.Context(), h.machine(member), m.Host, m.Port))
}

// promoteByHand makes a standby take writes behind pgapp's back.
func (h *home) promoteByHand(member string) {
	h.t.Helper()
	c := h.control(member)
	h.must(postgres.Promote(h.t.Context(), h.machine(member), c))
	_, err := c.WaitPromoted(h.t.Context())
	h.must(err)
}

func (h *home) streaming(names ...string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	h.must(postgres.WaitStreaming(ctx, h.control(h.record().Primary), names))
}

// conflict checks that the operation failed with a conflict whose hint names the
// command.
func (h *home) conflict(o appliance.Operation, command string) {
	h.t.Helper()
	if o.State != appliance.OpFailed || o.Error == nil || o.Error.ID != appliance.ErrConflict || !strings.Contains(o.Error.Hint, command) {
		h.t.Fatalf("operation %s is %s with %+v, want a conflict that names %q", o.Kind, o.State, o.Error, command)
	}
}

// TestStartPromotesPrimaryThatIsStandby starts a recorded primary that has
// standby.signal. It may take writes again on a new timeline only.
func TestStartPromotesPrimaryThatIsStandby(t *testing.T) {
	t.Parallel()
	h := newHome(t, 211, packed(t))
	h.create(1)
	h.succeeded(h.do(appliance.OpStop, appliance.OperationParams{}))
	before := h.record()
	h.must(os.WriteFile(h.signal("node0"), nil, 0o600))
	h.succeeded(h.do(appliance.OpStart, appliance.OperationParams{}))
	after, seen := h.record(), h.seen("node0")
	if seen.InRecovery || seen.Timeline != before.Timeline+1 {
		t.Errorf("node0 in recovery: %t, timeline %d, want a primary on timeline %d", seen.InRecovery, seen.Timeline, before.Timeline+1)
	}
	if after.Timeline != seen.Timeline || after.Epoch != before.Epoch+1 || len(after.Promotions) != 1 || len(after.Ancestors) != 1 || after.Promotions[0].Switch == 0 {
		t.Errorf("record after the promotion: %+v", after)
	}
	if epoch, err := h.control("node0").Epoch(t.Context()); err != nil || epoch != after.Epoch {
		t.Errorf("epoch in the data: %d, %v; want %d", epoch, err, after.Epoch)
	}
	h.streaming("node1")
}

// TestStartWaitsForAStandbyThatHasNotReplayedTheRole starts a standby whose data are from
// before pgapp's role got its password. It accepts sessions, and refuses pgapp until it has
// replayed the rest.
func TestStartWaitsForAStandbyThatHasNotReplayedTheRole(t *testing.T) {
	t.Parallel()
	h := newHome(t, 243, packed(t))
	h.create(1)
	secret := h.sql("node0", "postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'pgapp'")
	h.sql("node0", "postgres", "ALTER ROLE pgapp PASSWORD 'another'")
	h.replayed("node0", "node1")
	h.must(h.machine("node1").StopServer(t.Context(), appliance.StopFast))
	h.sql("node0", "shop", "CREATE TABLE public.much AS SELECT repeat('x', 1000) FROM generate_series(1, 100000)")
	h.sql("node0", "postgres", "ALTER ROLE pgapp PASSWORD '"+secret+"'")
	h.succeeded(h.do(appliance.OpStart, appliance.OperationParams{Member: "node1"}))
	h.streaming("node1")
}

// TestStartLeavesForeignPrimaryAlone starts the recorded primary while another member
// takes writes alone.
func TestStartLeavesForeignPrimaryAlone(t *testing.T) {
	t.Parallel()
	h := newHome(t, 212, packed(t))
	h.create(1)
	h.must(h.machine("node0").Fence(t.Context()))
	h.promoteByHand("node1")
	for _, member := range []string{"", "node0", "node1"} {
		c, r := h.daemon(nil)
		o, err := c.Submit(t.Context(), "main", appliance.OpStart, appliance.OperationParams{Member: member})
		if err == nil {
			o = follow(t, r, o.ID)
			h.conflict(o, "pgapp adopt")
		} else if p := appliance.AsProblem(err); p.ID != appliance.ErrConflict || !strings.Contains(p.Hint, "pgapp adopt") {
			t.Errorf("start %s: %v", member, err)
		}
		r.Close()
	}
	if running, err := h.machine("node0").ServerRunning(t.Context()); err != nil || running {
		t.Errorf("node0 runs: %t, %v", running, err)
	}
	if seen := h.seen("node1"); seen.InRecovery {
		t.Error("node1 was made a standby")
	}
}

// TestStartEndsSecondPrimary has a standby promoted by hand beside the primary.
func TestStartEndsSecondPrimary(t *testing.T) {
	t.Parallel()
	h := newHome(t, 213, packed(t))
	h.create(2)
	h.promoteByHand("node1")
	started := h.do(appliance.OpStart, appliance.OperationParams{})
	h.succeeded(started)
	if m, _ := h.record().Member("node1"); m.Return != appliance.WayLook {
		t.Errorf("node1's way back is %q, want %q", m.Return, appliance.WayLook)
	}
	if running, err := h.machine("node1").ServerRunning(t.Context()); err != nil || running {
		t.Errorf("node1 runs: %t, %v", running, err)
	}
	if _, err := os.Stat(h.signal("node1")); err != nil {
		t.Errorf("node1 could be started by hand as a primary: %v", err)
	}
	said := ""
	for _, s := range started.Steps {
		said += s.Progress.Detail
	}
	if !strings.Contains(said, "pgapp rejoin node1") {
		t.Errorf("the operation says %q, want a hint to rejoin", said)
	}
	// A repeat leaves the marked member alone, and naming it is an error.
	h.succeeded(h.do(appliance.OpStart, appliance.OperationParams{}))
	h.conflict(h.do(appliance.OpStart, appliance.OperationParams{Member: "node1"}), "pgapp rejoin")
	// Started by hand, it does not take writes.
	h.byHand("node1")
	if seen := h.seen("node1"); !seen.InRecovery {
		t.Error("node1, started by hand, takes writes")
	}
	h.streaming("node2")
}

// TestStartPointsStandbyToRecordedPrimary has a running standby follow a wrong address.
func TestStartPointsStandbyToRecordedPrimary(t *testing.T) {
	t.Parallel()
	h := newHome(t, 214, packed(t))
	h.create(2)
	h.must(h.machine("node2").StopServer(t.Context(), appliance.StopFast))
	other, _ := h.record().Member("node1")
	h.must(os.WriteFile(filepath.Join(h.machine("node2").Layout().DataDir, "postgresql.auto.conf"),
		[]byte("primary_conninfo = 'host="+other.Host+" port="+strconv.Itoa(other.Port)+" user=replicator'\n"), 0o600))
	h.byHand("node2")
	if seen := h.seen("node2"); seen.UpstreamHost != other.Host {
		t.Fatalf("node2 follows %q, and the case needs %q", seen.UpstreamHost, other.Host)
	}
	h.succeeded(h.do(appliance.OpStart, appliance.OperationParams{}))
	primary := h.record().PrimaryMember()
	if seen := h.seen("node2"); seen.UpstreamHost != primary.Host || seen.ReceiverHost != primary.Host {
		t.Errorf("node2 follows %q by a receiver of %q, want %q", seen.UpstreamHost, seen.ReceiverHost, primary.Host)
	}
}

// TestStartWaitsForUnfinishedChange starts a cluster whose primary is being replaced.
// A restart is refused, and a start of the cluster goes on with the change.
func TestStartWaitsForUnfinishedChange(t *testing.T) {
	t.Parallel()
	h := newHome(t, 215, packed(t))
	h.create(1)
	h.must(h.machine("node0").Fence(t.Context()))
	h.edit(func(c *appliance.Cluster) {
		c.Change = &appliance.PrimaryChange{Operation: "01", Kind: appliance.OpFailover, From: "node0", To: "node1", Phase: appliance.ChangePromoting}
	})
	c, r := h.daemon(nil)
	_, err := c.Submit(t.Context(), "main", appliance.OpRestart, appliance.OperationParams{Member: "node0"})
	r.Close()
	if !appliance.IsProblem(err, appliance.ErrConflict) || !strings.Contains(appliance.AsProblem(err).Hint, "pgapp failover") {
		t.Errorf("restart: %v, want a conflict that names pgapp failover", err)
	}
	if running, err := h.machine("node0").ServerRunning(t.Context()); err != nil || running {
		t.Errorf("node0 runs: %t, %v", running, err)
	}
	h.succeeded(h.do(appliance.OpStart, appliance.OperationParams{}))
	if r := h.record(); r.Primary != "node1" {
		t.Errorf("the primary is %s, want node1", r.Primary)
	}
}

// TestStandbysStreamSoonAfterPrimaryReturns kills the primary, so that its standbys
// pause between attempts to connect, and starts it again.
func TestStandbysStreamSoonAfterPrimaryReturns(t *testing.T) {
	t.Parallel()
	h := newHome(t, 216, packed(t))
	h.create(2)
	h.must(h.machine("node0").Fence(t.Context()))
	h.succeeded(h.do(appliance.OpStart, appliance.OperationParams{Member: "node0"}))
	h.streaming("node1", "node2")
}

// TestRestartTakesMembersOneByOne restarts a cluster in place, by a move of the primary,
// and after a kill of the primary.
func TestRestartTakesMembersOneByOne(t *testing.T) {
	t.Parallel()
	h := newHome(t, 217, packed(t))
	h.create(2)
	restart := func(p appliance.OperationParams, pairs ...[2]string) {
		t.Helper()
		o := h.do(appliance.OpRestart, p)
		h.succeeded(o)
		ended := map[string]time.Time{}
		for _, s := range o.Steps {
			ended[s.ID] = *s.EndedAt
		}
		for _, pair := range pairs {
			if first, then := ended[pair[0]], ended[pair[1]]; first.IsZero() || !first.Before(then) {
				t.Errorf("%s ended at %v, %s at %v", pair[0], first, pair[1], then)
			}
		}
	}
	restart(appliance.OperationParams{InPlace: true}, [2]string{"streaming/node1", "stop/node2"}, [2]string{"streaming/node2", "stop/node0"}, [2]string{"stop/node0", "start/node0"})
	h.streaming("node1", "node2")
	restart(appliance.OperationParams{}, [2]string{"streaming/node1", "stop/node2"}, [2]string{"streaming/node2", "change"}, [2]string{"change", "rejoin/node0"})
	if r := h.record(); r.Primary != "node1" || r.Epoch != 2 {
		t.Fatalf("the primary is %s in epoch %d, want node1 in epoch 2", r.Primary, r.Epoch)
	}
	h.streaming("node0", "node2")
	h.must(h.machine("node1").Fence(t.Context()))
	restart(appliance.OperationParams{})
	if r := h.record(); r.Primary != "node1" || r.Epoch != 2 {
		t.Fatalf("the primary that was started is %s in epoch %d, want node1 in epoch 2", r.Primary, r.Epoch)
	}
	h.streaming("node0", "node2")

	h.mark("node0", "node2")
	o := h.do(appliance.OpRestart, appliance.OperationParams{})
	h.succeeded(o)
	if !strings.Contains(o.Note, "node1 is restarted in place") || !strings.Contains(o.Note, "no standby answers") {
		t.Errorf("the note is %q", o.Note)
	}
	if r := h.record(); r.Primary != "node1" || r.Epoch != 2 || r.Change.Phase != appliance.ChangeRefused {
		t.Errorf("the primary is %s in epoch %d, the change %+v", r.Primary, r.Epoch, r.Change)
	}
	h.succeeded(h.upAs(appliance.DurabilityAsync))
	h.streaming("node0", "node2")
}
