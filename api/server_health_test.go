package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgapp/appliance"
)

func TestHealthChecks(t *testing.T) {
	t.Parallel()
	f := newFake()
	d := start(t, f, nil)
	member := func(name string, role appliance.Role, state appliance.MemberState, sync string) appliance.MemberStatus {
		return appliance.MemberStatus{Name: name, Role: role, State: state, SyncState: sync}
	}
	f.clusters["main"] = appliance.ClusterStatus{Name: "main", Primary: "node0", Promise: &appliance.Promise{Set: []string{"node1", "node4"}, K: 1}, Members: []appliance.MemberStatus{
		member("node0", appliance.RolePrimary, appliance.StateRunning, ""),
		member("node1", appliance.RoleStandby, appliance.StateStreaming, "quorum"),
		// PostgreSQL counts it already, but nothing is promised of it yet.
		member("node2", appliance.RoleStandby, appliance.StateStreaming, "quorum"),
		member("node3", appliance.RoleStandby, appliance.StateCatchup, ""),
		member("node4", appliance.RoleStandby, appliance.StateUnreachable, ""),
		// Claims to be primary, but the record names another.
		member("node5", appliance.RolePrimary, appliance.StateRunning, ""),
	}}
	want := map[string]string{ // member → checks that pass
		"node0": "primary read-only any", "node1": "replica read-only sync any", "node2": "replica read-only any",
		"node3": "any", "node4": "", "node5": "any", "node9": "",
	}
	auth := http.Header{"Authorization": {""}}
	for m, pass := range want {
		for _, check := range []string{"primary", "replica", "read-only", "sync", "any"} {
			status := 503
			if slices.Contains(strings.Fields(pass), check) {
				status = 200
			}
			for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
				_, body := request(t, d, method, "/health/main/"+m+"/"+check, "", auth, status, "")
				if method == "HEAD" && body != "" {
					t.Errorf("HEAD answered %q", body)
				}
			}
		}
	}
	f.mu.Lock()
	if f.statuses > 10 {
		t.Errorf("%d observations for %d checks", f.statuses, len(want)*15)
	}
	f.mu.Unlock()
	request(t, d, "GET", "/health/other/node0/primary", "", auth, 503, "")
	request(t, d, "GET", "/health/main/node0/leader", "", auth, 422, appliance.ErrInvalidSpec)
	request(t, d, "GET", "/health/..%2Fx/node0/primary", "", auth, 422, appliance.ErrInvalidSpec)
	request(t, d, "POST", "/health/main/node0/primary", "", auth, 405, appliance.ErrUsage)
}

// One slow observation is shared by all that ask, and none is older than half a second.
func TestHealthObservationIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &New(Config{}).health
		var mu sync.Mutex
		made := 0
		observe := func(ctx context.Context) (appliance.ClusterStatus, error) {
			mu.Lock()
			made++
			mu.Unlock()
			select {
			case <-time.After(time.Second):
				return appliance.ClusterStatus{Name: "main"}, nil
			case <-ctx.Done():
				return appliance.ClusterStatus{}, ctx.Err()
			}
		}
		ask := func() {
			if st, err := look(t.Context(), h, "main", healthPatience, observe); err != nil || st.Name != "main" {
				t.Errorf("got %+v, %v", st, err)
			}
		}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(ask)
		}
		wg.Wait()
		if made != 1 {
			t.Errorf("50 at once made %d observations", made)
		}
		ask()
		if made != 2 {
			t.Errorf("a second later: %d observations in all", made)
		}
		_, err := look(t.Context(), h, "stuck", healthPatience, func(ctx context.Context) (appliance.ClusterStatus, error) {
			<-ctx.Done()
			return appliance.ClusterStatus{}, ctx.Err()
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an observation that hangs: %v", err)
		}
	})
}
