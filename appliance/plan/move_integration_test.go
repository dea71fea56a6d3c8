//go:build integration

package plan_test

import (
	"os"
	"strconv"
	"testing"

	"pgapp/appliance"
)

// began returns when the member's server was started.
func (h *home) began(member string) string {
	h.t.Helper()
	return h.sql(member, "postgres", "SELECT pg_postmaster_start_time()")
}

// TestMoveGoesOnAfterInterruptionAtEachStore ends the daemon at each change of the
// record that an operation makes which restarts all members, before it is stored or
// after, or both in turn if the environment asks for all. The next daemon goes on: the
// primary moves once, and once the move has begun no standby restarts again.
func TestMoveGoesOnAfterInterruptionAtEachStore(t *testing.T) {
	t.Parallel()
	t.Run("restart", func(t *testing.T) {
		t.Parallel()
		h := newHome(t, 222, packed(t))
		h.create(2)
		h.succeeded(h.upAs(appliance.DurabilityQuorum))
		h.movesInterrupted(func(c controller) (appliance.Operation, error) {
			return c.Submit(t.Context(), "main", appliance.OpRestart, appliance.OperationParams{})
		})
	})
	t.Run("parameters", func(t *testing.T) {
		t.Parallel()
		h := newHome(t, 223, packed(t))
		h.create(2)
		h.succeeded(h.upAs(appliance.DurabilityQuorum))
		size := 1024
		h.movesInterrupted(func(c controller) (appliance.Operation, error) {
			size++
			s := appliance.Spec{Name: "main", Parameters: map[string]string{"track_activity_query_size": strconv.Itoa(size)}}
			return c.Up(t.Context(), s, appliance.UpOptions{})
		})
		for _, m := range h.record().Members {
			if got := h.sql(m.Name, "postgres", "SELECT setting FROM pg_settings WHERE name = 'track_activity_query_size'"); got != strconv.Itoa(size) {
				t.Errorf("%s has %s, want %d", m.Name, got, size)
			}
		}
	})
}

// movesInterrupted runs the operation with an interruption at one change of the record
// after the other.
func (h *home) movesInterrupted(begin func(controller) (appliance.Operation, error)) {
	h.t.Helper()
	for n := 1; ; n++ {
		met := false
		for _, after := range []bool{false, true} {
			if os.Getenv(exhaustive) != "" || after == (n%2 == 0) {
				i := &interruption{n: n, after: after}
				h.moveInterrupted(i, begin)
				met = met || i.met
			}
		}
		if !met {
			h.t.Logf("%d changes of the record", n-1)
			return
		}
	}
}

// moveInterrupted runs the operation with an interruption.
func (h *home) moveInterrupted(i *interruption, begin func(controller) (appliance.Operation, error)) {
	h.t.Helper()
	was := h.record()
	h.around = i.around
	c, r := h.daemon(nil)
	o, err := begin(c)
	h.must(err)
	follow(h.t, r, o.ID)
	r.Close()
	h.around = nil
	began := map[string]string{}
	if ch := h.record().Change; i.met && ch != nil && ch.Operation == o.ID {
		for _, m := range was.Standbys() {
			began[m.Name] = h.began(m.Name)
		}
	}
	c, r = h.daemon(nil)
	h.must(c.Recover(h.t.Context()))
	h.succeeded(follow(h.t, r, o.ID))
	r.Close()
	now := h.record()
	if now.Primary == was.Primary || now.Epoch != was.Epoch+1 || now.Change.Operation != o.ID {
		h.t.Errorf("%+v: the primary is %s in epoch %d after %s in epoch %d", i, now.Primary, now.Epoch, was.Primary, was.Epoch)
	}
	for name, at := range began {
		if again := h.began(name); again != at {
			h.t.Errorf("%+v: %s was started at %s, and again at %s", i, name, at, again)
		}
	}
	for _, m := range now.Standbys() {
		h.streaming(m.Name)
	}
	h.promiseHolds("after the move")
}
