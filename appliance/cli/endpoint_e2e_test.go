//go:build e2e

package cli_test

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"pgapp/appliance"
)

// endpoint connects to one of the cluster's endpoints.
func (l *lab) endpoint(ctx context.Context, role string) (*pgx.Conn, error) {
	l.t.Helper()
	url := strings.TrimSpace(l.ok("url", "--role", role, "--only", "endpoint", "--driver", "pgx", "--show-password"))
	return pgx.Connect(ctx, url)
}

// holds opens a session through the endpoint for writes that waits for an answer and says
// nothing. The channel tells when the session was cut off.
func (l *lab) holds() <-chan time.Time {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.t.Context()), 2*l.limit)
	conn, err := l.endpoint(ctx, "rw")
	if err != nil {
		cancel()
		l.t.Fatalf("connecting through the endpoint for writes: %v", err)
	}
	cut := make(chan time.Time, 1)
	go func() {
		defer cancel()
		_, _ = conn.Exec(ctx, "SELECT pg_sleep(86400)") // it fails
		cut <- time.Now()
		_ = conn.Close(ctx)
	}()
	return cut
}

// leadsThrough wants the endpoint for writes to lead to the primary, and the one for reads
// to a standby.
func (l *lab) leadsThrough(s appliance.ClusterStatus) {
	l.t.Helper()
	for role, query := range map[string]string{
		"rw": "SELECT m FROM (SELECT host(inet_server_addr()) AS m) AS s WHERE NOT pg_is_in_recovery()",
		"ro": "SELECT m FROM (SELECT host(inet_server_addr()) AS m) AS s WHERE pg_is_in_recovery()",
	} {
		var host string
		l.until(l.limit, "the endpoint "+role+" leads to such a member", func() bool {
			ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
			defer cancel()
			conn, err := l.endpoint(ctx, role)
			if err != nil {
				return false
			}
			defer func() { _ = conn.Close(ctx) }()
			return conn.QueryRow(ctx, query).Scan(&host) == nil
		})
		for _, m := range s.Members {
			if m.Host == host && (m.Name == s.Primary) != (role == "rw") {
				l.t.Errorf("with the primary %s, the endpoint %s leads to %s", s.Primary, role, m.Name)
			}
		}
	}
}
