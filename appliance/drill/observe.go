package drill

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"pgapp/appliance"
)

// observation is what a member shows to a user of the database.
type observation struct {
	rows map[Row]bool
	// writes is set where the member takes writes; timeline is then its own.
	writes   bool
	timeline uint32
	// setting is its synchronous_standby_names.
	setting string
	slots   []string
}

const observeSQL = `SELECT NOT pg_is_in_recovery(), current_setting('synchronous_standby_names'),
CASE WHEN pg_is_in_recovery() THEN 0 ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END,
ARRAY(SELECT slot_name::text FROM pg_replication_slots WHERE NOT temporary ORDER BY 1)`

// Rows reads the rows that a member has.
func Rows(ctx context.Context, cfg Config, member string) (map[Row]bool, error) {
	o, err := observe(ctx, cfg, member)
	return o.rows, err
}

func observe(ctx context.Context, cfg Config, member string) (o observation, err error) {
	err = cfg.in(ctx, member, func(c *pgx.Conn) error {
		var timeline int64
		if err := c.QueryRow(ctx, observeSQL).Scan(&o.writes, &o.setting, &timeline, &o.slots); err != nil {
			return err
		}
		o.timeline = uint32(timeline) // #nosec G115 -- eight hexadecimal digits
		rows, err := c.Query(ctx, "SELECT writer, seq FROM drill_rows")
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Row])
		o.rows = make(map[Row]bool, len(list))
		for _, r := range list {
			o.rows[r] = true
		}
		return err
	})
	return o, err
}

const (
	// prober is the number of the writer whose rows the check writes.
	prober = -1
	// probeLimit bounds each of the check's connections, which a busy machine may hold up, and
	// its writing of a row, which may wait for a standby.
	probeLimit = 5 * time.Second
)

// probe writes a row on the member.
func (cfg Config) probe(ctx context.Context, member string) (row Row, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	row.Writer = prober
	err = cfg.in(ctx, member, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, "INSERT INTO drill_rows SELECT $1, coalesce(max(seq), 0) + 1 FROM drill_rows WHERE writer = $1 RETURNING seq", prober).Scan(&row.Seq)
	})
	return row, err
}

// in opens a session to the member.
func (cfg Config) in(ctx context.Context, member string, do func(*pgx.Conn) error) error {
	for i, m := range cfg.Members {
		if m.Member != member {
			continue
		}
		w := writer{run: &Run{cfg: cfg}, member: i}
		err := w.connect(ctx, probeLimit)
		if err == nil {
			err = do(w.conn)
			w.close(ctx)
		}
		if err != nil {
			return fmt.Errorf("asking %s: %w", member, err)
		}
		return nil
	}
	return fmt.Errorf("there is no member %q", member)
}

// holds tells whether the setting makes each commit fulfil the promise: of the K standbys
// that confirm it, at most those outside of the promise's set don't count.
func holds(setting string, p appliance.Promise) bool {
	if p.None() {
		return true
	}
	parts := regexp.MustCompile(`^ANY ([0-9]+) \((.+)\)$`).FindStringSubmatch(setting)
	if parts == nil {
		return false
	}
	k, err := strconv.Atoi(parts[1])
	for name := range strings.SplitSeq(parts[2], ",") {
		if !p.Has(strings.Trim(name, ` "`)) {
			k--
		}
	}
	return err == nil && k >= p.K
}
