//go:build integration

package plan_test

import (
	"errors"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/postgres"
)

// interruption fails the nth change of the record, before or after it is stored, and
// all later ones, as a kill of the daemon does.
type interruption struct {
	n     int
	after bool
	seen  int
	met   bool
}

func (i *interruption) around(after bool) error {
	if !after {
		i.seen++
	}
	if i.met || i.seen == i.n && after == i.after {
		i.met = true
		return errors.New("interrupted")
	}
	return nil
}

// upAs brings the cluster to the durability, and tells how that ended.
func (h *home) upAs(d appliance.Durability) appliance.Operation {
	h.t.Helper()
	c, r := h.daemon(nil)
	defer r.Close()
	o, err := c.Up(h.t.Context(), appliance.Spec{Name: "main", Durability: d}, appliance.UpOptions{})
	h.must(err)
	return follow(h.t, r, o.ID)
}

// promiseInForce is what the primary's setting promises.
func (h *home) promiseInForce(record appliance.Cluster) appliance.Promise {
	h.t.Helper()
	m, s := record.PrimaryMember(), h.secrets()
	c, err := postgres.Connect(h.t.Context(), m.Host, m.Port, postgres.MaintenanceDatabase, s.Get(appliance.SecretControl))
	h.must(err)
	defer func() { _ = c.Close(h.t.Context()) }()
	p, err := c.PromiseInForce(h.t.Context())
	h.must(err)
	return p
}

func (h *home) secrets() appliance.Secrets {
	h.t.Helper()
	s, err := h.st.Secrets(h.t.Context(), "main")
	h.must(err)
	return s
}

// promiseHolds checks that what the primary's setting promises, and what its files would
// be rendered with, imply the stored promise.
func (h *home) promiseHolds(when string) {
	h.t.Helper()
	record := h.record()
	inForce := h.promiseInForce(record)
	if !ha.Implies(inForce, record.Promise) || !ha.Implies(record.Sync, record.Promise) {
		h.t.Errorf("%s: %s is stored, but the setting says %s, and the files %s", when, record.Promise, inForce, record.Sync)
	}
}

// settled checks that the promise is stored and in force.
func (h *home) settled(want appliance.Promise) {
	h.t.Helper()
	record := h.record()
	inForce := h.promiseInForce(record)
	if !record.Promise.Equal(want) || !record.Sync.Equal(want) || !inForce.Equal(want) {
		h.t.Fatalf("%s is stored, %s recorded as the setting and %s in force, want %s", record.Promise, record.Sync, inForce, want)
	}
}

// TestPromiseSurvivesInterruptionAtEachStore interrupts operations that strengthen, move
// and weaken the promise at each change of the record. What is stored holds at each of
// them, and the next operation goes on.
func TestPromiseSurvivesInterruptionAtEachStore(t *testing.T) {
	t.Parallel()
	h := newHome(t, 221, packed(t))
	h.create(2)
	both, one := ha.Over("node1", "node2"), ha.Over("node2")
	h.succeeded(h.upAs(appliance.DurabilityQuorum))
	h.settled(both)
	for _, c := range []struct {
		name     string
		do, undo func() appliance.Operation
		during   appliance.Promise
		stays    appliance.Promise
	}{
		{
			"up to async and back", func() appliance.Operation { return h.upAs(appliance.DurabilityAsync) },
			func() appliance.Operation { return h.upAs(appliance.DurabilityQuorum) },
			appliance.Promise{},
			both,
		},
		{
			"stop and start",
			func() appliance.Operation {
				return h.do(appliance.OpStop, appliance.OperationParams{Member: "node1"})
			},
			func() appliance.Operation {
				return h.do(appliance.OpStart, appliance.OperationParams{Member: "node1"})
			}, one, both,
		},
	} {
		h.interrupted(c.name, c.do, func() {
			h.succeeded(c.do())
			h.settled(c.during)
			h.succeeded(c.undo())
		})
		h.succeeded(c.do())
		h.interrupted(c.name+", the way back", c.undo, func() {
			h.succeeded(c.undo())
			h.settled(c.stays)
			h.succeeded(c.do())
		})
		h.succeeded(c.undo())
		h.settled(c.stays)
	}
}

// interrupted runs the operation with an interruption at one change of the record after
// the other. again brings the cluster back to where the operation begins.
func (h *home) interrupted(what string, do func() appliance.Operation, again func()) {
	h.t.Helper()
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			i := &interruption{n: n, after: after}
			h.around = i.around
			o := do()
			h.around = nil
			h.promiseHolds(what)
			again()
			if !i.met {
				h.succeeded(o)
				if n == 1 {
					h.t.Fatalf("%s changes nothing on record", what)
				}
				h.t.Logf("%s: %d changes of the record", what, n-1)
				break
			}
		}
	}
}
