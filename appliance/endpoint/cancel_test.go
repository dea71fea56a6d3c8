package endpoint

import (
	"io"
	"testing"
	"time"

	"pgapp/appliance"
)

func TestCancelGoesToEveryMemberOfTheEndpoint(t *testing.T) {
	t.Parallel()
	p, a, b := newMember(t, "p"), newMember(t, "a"), newMember(t, "b")
	w := newWorld(t, appliance.Route{
		Primary: ptr(p.route()), ROPrimary: appliance.ROPrimaryNever,
		Standbys: []appliance.RouteStandby{standby(a), standby(b)},
	})
	cancels := func(want int, negotiates bool) {
		t.Helper()
		s := connect(t, w.route.RO)
		if negotiates { // as libpq's PQcancelBlocking does with sslmode=prefer
			s.send(packetOf(codeSSL, ""))
			if b, err := s.r.ReadByte(); err != nil || b != 'N' {
				t.Fatalf("negotiation: %q, %v", b, err)
			}
		}
		s.send(packetOf(codeCancel, "\x00\x00\x00\x01\x00\x00\x00\x02"))
		if _, err := io.ReadAll(s.r); err != nil {
			t.Fatal(err)
		}
		if a.cancelled() != want || b.cancelled() != want || p.cancelled() != 0 {
			t.Errorf("cancels: a %d, b %d, p %d; want %d", a.cancelled(), b.cancelled(), p.cancelled(), want)
		}
	}
	cancels(1, false)
	cancels(2, true)
	// Where no member takes a session, and beyond the limit.
	w.apply(func(r *appliance.Route) {
		r.Wait, r.Standbys = time.Millisecond, []appliance.RouteStandby{{RouteMember: a.route()}, {RouteMember: b.route()}}
	})
	cancels(3, true)
	w.apply(func(r *appliance.Route) {
		r.MaxConnections, r.Standbys = 1, []appliance.RouteStandby{standby(a), standby(b)}
	})
	greet(t, w.route.RO)
	cancels(4, true)
	if st := w.status().RO; st.Open != 1 || st.Waiting != 0 {
		t.Errorf("after the cancels: status %+v", st)
	}
}
