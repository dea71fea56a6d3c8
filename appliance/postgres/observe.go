package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// Observation is a member's own report of its state.
type Observation struct {
	InRecovery       bool
	Timeline         uint32
	SystemIdentifier string
	// LSN is a primary's write position, a standby's replayed position.
	LSN string
	// ReceiveLSN is the position flushed by a standby's receiver since the
	// receiver's start; after a restart it may be behind LSN. Empty on a primary.
	ReceiveLSN string
	// PauseState is pg_get_wal_replay_pause_state's result, empty on a primary.
	PauseState string
	// ReceiverStatus is pg_stat_wal_receiver's, empty if no receiver runs.
	ReceiverStatus string
	// ReceiverHost and ReceiverPort are the receiver's upstream.
	ReceiverHost string
	ReceiverPort int
	// UpstreamHost and UpstreamPort are what primary_conninfo names, which a receiver
	// that has not connected yet would use.
	UpstreamHost string
	UpstreamPort int
	// PostmasterStart identifies one start of the server.
	PostmasterStart time.Time
	// ClusterName is the parameter, cluster/member.
	ClusterName string
}

const observeSQL = `SELECT pg_is_in_recovery(), s.system_identifier::text,
	CASE WHEN pg_is_in_recovery()
		THEN greatest(c.timeline_id, coalesce(r.received_tli, 0), recovery.min_recovery_end_timeline)
		ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END,
	CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn(), '0/0') ELSE pg_current_wal_lsn() END::text,
	CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_receive_lsn()::text, '') ELSE '' END,
	CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() ELSE '' END,
	coalesce(r.status, ''), coalesce(r.sender_host, ''), coalesce(r.sender_port, 0),
	pg_postmaster_start_time(), current_setting('cluster_name'), current_setting('primary_conninfo')
FROM pg_control_system() s, pg_control_checkpoint() c, pg_control_recovery() recovery
	LEFT JOIN pg_stat_wal_receiver r ON true`

// Observe queries the member's role and positions.
func (c *Control) Observe(ctx context.Context) (Observation, error) {
	var o Observation
	var timeline int64
	var upstream string
	err := c.row(ctx, observeSQL, nil, &o.InRecovery, &o.SystemIdentifier, &timeline, &o.LSN, &o.ReceiveLSN,
		&o.PauseState, &o.ReceiverStatus, &o.ReceiverHost, &o.ReceiverPort, &o.PostmasterStart, &o.ClusterName, &upstream)
	o.UpstreamHost, o.UpstreamPort = upstreamOf(upstream)
	o.Timeline = uint32(timeline)
	return o, err
}

const replicationSQL = `SELECT coalesce(application_name, ''), coalesce(host(client_addr), ''), coalesce(state, ''), coalesce(sync_state, ''),
	coalesce(sent_lsn::text, ''), coalesce(write_lsn::text, ''), coalesce(flush_lsn::text, ''), coalesce(replay_lsn::text, ''),
	coalesce(greatest(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN sent_lsn ELSE pg_current_wal_lsn() END, replay_lsn), 0), 0)::bigint,
	coalesce(extract(epoch FROM replay_lag), 0)::float8
FROM pg_stat_replication ORDER BY application_name, pid`

// Replication returns the rows of pg_stat_replication, by name.
func (c *Control) Replication(ctx context.Context) ([]appliance.ReplicationRow, error) {
	rows, err := c.conn.Query(ctx, replicationSQL)
	if err != nil {
		return nil, c.wrap(ctx, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r appliance.ReplicationRow, err error) {
		err = row.Scan(&r.ApplicationName, &r.ClientAddr, &r.State, &r.SyncState, &r.SentLSN, &r.WriteLSN, &r.FlushLSN,
			&r.ReplayLSN, &r.ReplayLagBytes, &r.ReplayLagSecs)
		return r, err
	})
	return list, c.wrap(ctx, err)
}

// Slot is a row of pg_replication_slots for a physical slot.
type Slot struct {
	Name string
	// Active is set while a standby streams from the slot; ActivePID is the
	// walsender.
	Active    bool
	ActivePID int
	// RestartLSN is the oldest WAL that the slot keeps, empty if it keeps none.
	RestartLSN string
	// WALStatus is reserved, extended, unreserved or lost; empty if the slot keeps
	// no WAL.
	WALStatus string
}

const slotsSQL = `SELECT slot_name::text, active, coalesce(active_pid, 0), coalesce(restart_lsn::text, ''), coalesce(wal_status, '')
FROM pg_replication_slots WHERE slot_type = 'physical' ORDER BY slot_name`

// Slots returns the physical slots, by name.
func (c *Control) Slots(ctx context.Context) ([]Slot, error) {
	rows, err := c.conn.Query(ctx, slotsSQL)
	if err != nil {
		return nil, c.wrap(ctx, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Slot, err error) {
		err = row.Scan(&s.Name, &s.Active, &s.ActivePID, &s.RestartLSN, &s.WALStatus)
		return s, err
	})
	return list, c.wrap(ctx, err)
}

func (c *Control) slot(ctx context.Context, name string) (Slot, bool, error) {
	slots, err := c.Slots(ctx)
	if err != nil {
		return Slot{}, false, err
	}
	for _, s := range slots {
		if s.Name == name {
			return s, true, nil
		}
	}
	return Slot{}, false, nil
}

// SlotLost tells whether the slot has lost WAL that its standby needs. A slot that doesn't
// exist has lost none.
func SlotLost(ctx context.Context, c *Control, name string) (bool, error) {
	s, _, err := c.slot(ctx, name)
	return s.WALStatus == "lost", err
}

// EnsureSlot creates the physical slot on the primary, which keeps WAL from now
// on. A slot that keeps no WAL or has lost some is recreated, unless a standby
// streams from it. A repeat does nothing.
func (c *Control) EnsureSlot(ctx context.Context, name string) error {
	s, ok, err := c.slot(ctx, name)
	if err != nil {
		return fmt.Errorf("making replication slot %q: %w", name, err)
	}
	if ok && (s.Active || s.RestartLSN != "" && s.WALStatus != "lost") {
		return nil
	}
	if ok {
		if err := c.DropSlot(ctx, name); err != nil {
			return err
		}
	}
	err = c.exec(ctx, "SELECT pg_create_physical_replication_slot($1, true)", name)
	if err != nil && !hasState(err, stateDuplicate) {
		return fmt.Errorf("making replication slot %q: %w", name, err)
	}
	return nil
}

// RenewSlot is [EnsureSlot] for a standby that is stopped. A slot that has lost WAL is
// recreated also while a walsender uses it, which is one that has not noticed the standby's
// end. PostgreSQL 17 lets standbys stream from such a slot, which never keeps WAL again.
func RenewSlot(ctx context.Context, c *Control, slot string) error {
	lost, err := SlotLost(ctx, c, slot)
	if err == nil && lost {
		err = c.DropSlot(ctx, slot)
	}
	if err != nil {
		return err
	}
	return c.EnsureSlot(ctx, slot)
}

// EnsureSlot is [Control.EnsureSlot].
func EnsureSlot(ctx context.Context, c *Control, slot string) error { return c.EnsureSlot(ctx, slot) }

// DropSlot ends the walsender that uses the slot, if any, and drops the slot.
// A repeat does nothing.
func (c *Control) DropSlot(ctx context.Context, name string) error {
	err := wait.Until(ctx, slotPoll, func(ctx context.Context) (bool, error) {
		err := c.exec(ctx, `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1`, name)
		switch {
		case err == nil, hasState(err, stateUndefined):
			return true, nil
		case hasState(err, stateInUse):
			return false, c.exec(ctx, `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1`, name)
		}
		return false, err
	})
	if err != nil {
		return fmt.Errorf("dropping replication slot %q: %w", name, err)
	}
	return nil
}

const slotPoll = 20 * time.Millisecond
