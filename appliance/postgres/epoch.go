package postgres

import (
	"context"

	"pgapp/appliance"
)

// promotionTable keeps a row for each promotion, in database postgres beside verify's
// marker. It comes to every member that follows the promoted one, so whoever has an
// older record can see that the primary has changed since.
const promotionTable = "pgapp.promotion"

// promotionSQL makes the table. [EnsureRoles] does so in a new cluster, where a question for
// the epoch would else leave an error in the server's log.
const promotionSQL = `CREATE TABLE IF NOT EXISTS ` + promotionTable + ` (
	epoch bigint PRIMARY KEY,
	member text NOT NULL,
	timeline bigint NOT NULL,
	switch_lsn pg_lsn NOT NULL,
	at timestamptz NOT NULL,
	reason text NOT NULL
)`

// RecordPromotion stores the promotion in the data. The server is the new primary. A
// repeat is safe. The commit waits for no standby.
func (c *Control) RecordPromotion(ctx context.Context, p appliance.Promotion) error {
	if err := c.exec(ctx, promotionSQL); err != nil { // an older build made no table
		return err
	}
	return c.exec(ctx, `INSERT INTO `+promotionTable+` (epoch, member, timeline, switch_lsn, at, reason)
VALUES ($1::bigint, $2::text, $3::bigint, $4::text::pg_lsn, $5::timestamptz, $6::text)
ON CONFLICT (epoch) DO UPDATE SET member = excluded.member, timeline = excluded.timeline,
	switch_lsn = excluded.switch_lsn, at = excluded.at, reason = excluded.reason`,
		int64(p.Epoch), p.Member, int64(p.Timeline), p.Switch.String(), p.At.UTC(), p.Reason) // #nosec G115 -- epochs count promotions
}

// Epoch returns the newest epoch that the member's data know, 0 if they know none.
func (c *Control) Epoch(ctx context.Context) (uint64, error) {
	var epoch int64
	err := c.row(ctx, "SELECT coalesce(max(epoch), 0) FROM "+promotionTable, nil, &epoch)
	if hasState(err, stateNoTable) {
		return 0, nil
	}
	return uint64(max(epoch, 0)), err // #nosec G115 -- not negative
}

// ProveWrite proves that the server takes writes: it changes verify's marker row.
func (c *Control) ProveWrite(ctx context.Context) error {
	_, err := c.writeMarker(ctx)
	return err
}
