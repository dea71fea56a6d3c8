package postgres

import (
	"context"
	"fmt"
	"regexp"
	"strconv"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// WaitPromoted waits until the server has left recovery, and returns what it reports
// then.
func (c *Control) WaitPromoted(ctx context.Context) (o Observation, err error) {
	err = wait.Until(ctx, probeEvery, func(ctx context.Context) (bool, error) {
		o, err = c.Observe(ctx)
		return err == nil && !o.InRecovery, err
	})
	if err != nil {
		return o, fmt.Errorf("waiting for the promotion of PostgreSQL at %s: %w", c.address, err)
	}
	return o, nil
}

// Wake makes a running standby that has lost its primary try to connect at once. By
// itself it waits for wal_retrieve_retry_interval between attempts.
func Wake(ctx context.Context, sh Shell) error {
	if _, err := script(ctx, sh, followScript, sh.Layout().DataDir); err != nil {
		return failure(appliance.ErrReplication, err, "waking the standby")
	}
	return nil
}

// upstreamOf returns the host and the port in a connection string, quoted or not.
func upstreamOf(conninfo string) (host string, port int) {
	value := func(key string) string {
		m := regexp.MustCompile(`(?:^|\s)` + key + `\s*=\s*'?([^'\s]*)`).FindStringSubmatch(conninfo)
		if m == nil {
			return ""
		}
		return m[1]
	}
	port, _ = strconv.Atoi(value("port"))
	return value("host"), port
}
