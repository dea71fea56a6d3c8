package api

import (
	"net/http"
	"strings"
	"testing"

	"pgapp/appliance"
)

// TestChangesOfPrimaryOverTheAPI wants each request to begin the operation with what its
// body says.
func TestChangesOfPrimaryOverTheAPI(t *testing.T) {
	t.Parallel()
	f := newFake()
	d := start(t, f, nil)
	f.clusters["main"] = appliance.ClusterStatus{Name: "main"}
	const base = "/api/v1/clusters/main/"
	for i, tt := range []struct {
		path, body string
		kind       appliance.OperationKind
		want       appliance.OperationParams
	}{
		{"switchover", "", appliance.OpSwitchover, appliance.OperationParams{}},
		{"switchover", `{"to":"node2"}`, appliance.OpSwitchover, appliance.OperationParams{To: "node2"}},
		{"failover", "", appliance.OpFailover, appliance.OperationParams{}},
		{"failover", `{"to":"node2","allow_data_loss":true}`, appliance.OpFailover, appliance.OperationParams{To: "node2", AllowDataLoss: true}},
		{"rejoin", "", appliance.OpRejoin, appliance.OperationParams{}},
		{"members/node1/rejoin", "", appliance.OpRejoin, appliance.OperationParams{Member: "node1"}},
		{"restart", "", appliance.OpRestart, appliance.OperationParams{}},
		{"restart", `{"in_place":true}`, appliance.OpRestart, appliance.OperationParams{InPlace: true}},
		{"members/node1/stop?force=true", "", appliance.OpStop, appliance.OperationParams{Member: "node1", Force: true}},
		{"members/node1/reinit?force=true", "", appliance.OpReinit, appliance.OperationParams{Member: "node1", Force: true}},
		{"members/node1/reinit", "", appliance.OpReinit, appliance.OperationParams{Member: "node1"}},
	} {
		key := http.Header{"Idempotency-Key": {tt.path + tt.body[:min(1, len(tt.body))]}}
		h, body := request(t, d, "POST", base+tt.path, tt.body, key, 202, "")
		id := f.order[i]
		if o := f.ops[id]; o.Kind != tt.kind || o.Params != tt.want || h.Get("Location") != "/api/v1/operations/"+id {
			t.Errorf("%s %s: %s %+v at %s", tt.path, tt.body, o.Kind, o.Params, h.Get("Location"))
		}
		if _, again := request(t, d, "POST", base+tt.path, tt.body, key, 202, ""); again != body {
			t.Errorf("%s: the repeat got %s", tt.path, again)
		}
		f.finish(id)
	}
	request(t, d, "POST", base+"failover", `{"to":"node1"}`, http.Header{"Idempotency-Key": {"failover{"}}, 422, appliance.ErrIdempotencyReuse)
	for _, wrong := range []string{`{"to":"node2","force":true}`, `{"allow_data_loss":true}`, `{"to":2}`} {
		request(t, d, "POST", base+"switchover", wrong, nil, 422, appliance.ErrInvalidSpec)
	}
	f.fail = appliance.NewProblem(appliance.ErrQuorumLost, "node1 is missing")
	request(t, d, "POST", base+"failover", "", nil, 409, appliance.ErrQuorumLost)
}

// TestClientSendsForce wants the client's parameters to arrive.
func TestClientSendsForce(t *testing.T) {
	t.Parallel()
	f := newFake()
	d := start(t, f, nil)
	f.clusters["main"] = appliance.ClusterStatus{Name: "main", Members: make([]appliance.MemberStatus, 3)}
	for _, tt := range []struct {
		kind appliance.OperationKind
		want appliance.OperationParams
	}{
		{appliance.OpSwitchover, appliance.OperationParams{To: "node1"}},
		{appliance.OpFailover, appliance.OperationParams{To: "node1", AllowDataLoss: true}},
		{appliance.OpStop, appliance.OperationParams{Member: "node1", Force: true}},
		{appliance.OpReinit, appliance.OperationParams{Member: "node1", Force: true}},
		{appliance.OpRestart, appliance.OperationParams{InPlace: true}},
	} {
		o, err := d.unix.Submit(t.Context(), "main", tt.kind, tt.want)
		if err != nil || o.Kind != tt.kind || o.Params != tt.want {
			t.Errorf("%s: %+v, %v", tt.kind, o, err)
		}
		f.finish(o.ID)
	}
	for _, w := range []appliance.ScaleWish{{Standbys: standbys(1), Force: true}, {Remove: "node1", Force: true}, {Remove: "node1"}} {
		o, err := d.unix.Scale(t.Context(), "main", w)
		if err != nil || o.Params.Force != w.Force {
			t.Errorf("%+v: %+v, %v", w, o.Params, err)
		}
		f.finish(o.ID)
	}
}

// TestStatusKeepsPositionsAsText wants positions in the WAL as PostgreSQL writes them.
func TestStatusKeepsPositionsAsText(t *testing.T) {
	t.Parallel()
	f := newFake()
	d := start(t, f, nil)
	f.clusters["main"] = appliance.ClusterStatus{
		Name: "main", Epoch: 2, Durability: appliance.DurabilityQuorum, Promise: &appliance.Promise{Set: []string{"node0"}, K: 1},
		Promotions: []appliance.Promotion{{Epoch: 2, Member: "node1", Timeline: 2, Switch: 0x1_0300_0028, Reason: "failover"}},
	}
	_, body := request(t, d, "GET", "/api/v1/clusters/main", "", nil, 200, "")
	for _, want := range []string{`"switch_lsn":"1/3000028"`, `"promise":{"set":["node0"],"k":1}`, `"durability":"quorum"`, `"epoch":2`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	if s, err := d.unix.Status(t.Context(), "main"); err != nil || s.Promotions[0].Switch != 0x1_0300_0028 {
		t.Errorf("the client got %+v, %v", s, err)
	}
}
