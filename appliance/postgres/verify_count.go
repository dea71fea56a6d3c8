package postgres

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

const (
	// countBytes limits the size of the counted tables, smallest first.
	countBytes = 512 << 20
	countChunk = 200
)

// tableCount is a member's count of the user's tables.
type tableCount struct {
	// sizes has every table, rows the counted ones.
	sizes map[string]int64
	rows  map[string]int64
	// known are the rows of the transactions that the primary's snapshot shows. It
	// is empty if they were not counted separately.
	known map[string]int64
	// snapshot is the pg_snapshot of the count.
	snapshot string
}

// Unlogged and temporary tables are not replicated.
const tablesSQL = `SELECT format('%I.%I', n.nspname, c.relname), pg_relation_size(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND c.relispopulated
	AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'`

// counting is a count in one snapshot.
type counting struct {
	c     *Control
	tx    pgx.Tx
	found tableCount
	names []string
}

// beginCount takes the snapshot and chooses the tables: those in only or, if only
// is nil, the smallest within countBytes. The caller must call end.
func (c *Control) beginCount(ctx context.Context, only map[string]int64) (*counting, error) {
	t := tableCount{sizes: map[string]int64{}, rows: map[string]int64{}, known: map[string]int64{}}
	tx, err := c.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, c.wrap(ctx, err)
	}
	k := &counting{c: c, tx: tx}
	if k.found, err = t.list(ctx, tx); err != nil {
		k.end(ctx)
		return nil, c.wrap(ctx, err)
	}
	k.names = k.found.toCount(only)
	return k, nil
}

// end ends the read-only transaction.
func (k *counting) end(ctx context.Context) { _ = k.tx.Rollback(ctx) }

// list reads the snapshot and the tables.
func (t tableCount) list(ctx context.Context, tx pgx.Tx) (tableCount, error) {
	if err := tx.QueryRow(ctx, "SELECT pg_current_snapshot()::text").Scan(&t.snapshot); err != nil {
		return t, err
	}
	rows, err := tx.Query(ctx, tablesSQL)
	if err != nil {
		return t, err
	}
	var name string
	var size int64
	_, err = pgx.ForEachRow(rows, []any{&name, &size}, func() error {
		t.sizes[name] = size
		return nil
	})
	return t, err
}

// count counts the chosen tables' rows and, if known is a snapshot, those that
// the snapshot shows.
func (k *counting) count(ctx context.Context, known string) (tableCount, error) {
	filter := ""
	if known != "" {
		shown, err := shownBy(known)
		if err != nil {
			return k.found, err
		}
		filter = " FILTER (WHERE " + shown + ")"
	}
	for names := k.names; len(names) > 0; {
		n := min(len(names), countChunk)
		if err := k.chunk(ctx, names[:n], filter); err != nil {
			return k.found, k.c.wrap(ctx, err)
		}
		names = names[n:]
	}
	return k.found, nil
}

// shownBy is the condition on a row's xmin, x, that the snapshot shows its
// transaction. Transaction ids in rows have 32 bits; ids less than 2^31 ahead of
// the snapshot's end are later.
func shownBy(snapshot string) (string, error) {
	const ids = 1 << 32
	parts := strings.Split(snapshot, ":")
	if len(parts) != 3 {
		return "", fmt.Errorf("reading snapshot %q: it doesn't have three parts", snapshot)
	}
	end, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return "", fmt.Errorf("reading snapshot %q: %w", snapshot, err)
	}
	shown := fmt.Sprintf("(x < 3 OR (x - %d + %d) %% %[2]d >= %d)", end%ids, int64(ids), int64(ids/2))
	var under []string
	for _, id := range strings.FieldsFunc(parts[2], func(r rune) bool { return r == ',' }) {
		n, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return "", fmt.Errorf("reading snapshot %q: %w", snapshot, err)
		}
		under = append(under, strconv.FormatUint(n%ids, 10))
	}
	if len(under) > 0 {
		shown += " AND x NOT IN (" + strings.Join(under, ", ") + ")"
	}
	return shown, nil
}

// toCount chooses the tables to count.
func (t tableCount) toCount(only map[string]int64) []string {
	names := make([]string, 0, len(t.sizes))
	for n := range t.sizes {
		if _, asked := only[n]; asked || only == nil {
			names = append(names, n)
		}
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := t.sizes[names[i]], t.sizes[names[j]]
		return a < b || a == b && names[i] < names[j]
	})
	if only != nil {
		return names
	}
	budget := int64(countBytes)
	for i, n := range names {
		if budget -= t.sizes[n]; budget < 0 {
			return names[:i]
		}
	}
	return names
}

// chunk counts many tables in one query. Their names are already quoted, by
// PostgreSQL's format().
func (k *counting) chunk(ctx context.Context, names []string, filter string) error {
	const counts = "SELECT %d, count(*), 0::bigint FROM ONLY %s"
	const bothCounts = "SELECT %d, count(*), count(*)%s FROM (SELECT xmin::text::bigint x FROM ONLY %s) r"
	parts := make([]string, 0, len(names))
	for i, n := range names {
		if filter == "" {
			parts = append(parts, fmt.Sprintf(counts, i, n))
		} else {
			parts = append(parts, fmt.Sprintf(bothCounts, i, filter, n))
		}
	}
	rows, err := k.tx.Query(ctx, strings.Join(parts, " UNION ALL "))
	if err != nil {
		return err
	}
	var i int
	var n, known int64
	_, err = pgx.ForEachRow(rows, []any{&i, &n, &known}, func() error {
		if i < 0 || i >= len(names) {
			return errors.New("PostgreSQL counted a table that wasn't asked for")
		}
		k.found.rows[names[i]] = n
		if filter != "" {
			k.found.known[names[i]] = known
		}
		return nil
	})
	return err
}

// equal tells whether a standby has as many rows of the table, or as many of
// those that the primary's snapshot shows.
func (t tableCount) equal(standby tableCount, table string) bool {
	got, ok := standby.rows[table]
	if ok && got == t.rows[table] {
		return true
	}
	known, ok := t.known[table]
	got, gotOK := standby.known[table]
	return ok && gotOK && known == got
}

// differences lists the differences between a standby's tables and the primary's,
// except of proven tables.
func (t tableCount) differences(standby tableCount, proven map[string]int64) []string {
	var out []string
	for name := range t.sizes {
		if _, ok := standby.sizes[name]; !ok {
			out = append(out, name+" is missing")
		}
	}
	for name := range standby.sizes {
		if _, ok := t.sizes[name]; !ok {
			out = append(out, name+" is not on the primary")
		}
	}
	for name, want := range t.rows {
		_, done := proven[name]
		if got, ok := standby.rows[name]; ok && got != want && !done {
			out = append(out, fmt.Sprintf("%s has %d rows, but %d on the primary", name, got, want))
		}
	}
	sort.Strings(out)
	return out
}
