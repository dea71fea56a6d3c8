package postgres

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// takePoll is the pause between two looks at the replay of the WAL that is taken.
const takePoll = 10 * time.Millisecond

// remainderScript prints the last record in the WAL directory $2 on the timeline $3
// from the position $4 on. pg_waldump ($1) ends with an error at the end of the WAL; the
// script fails if the directory can't be read.
const remainderScript = `ls -- "$2" >/dev/null || exit 1
"$1" -p "$2" -t "$3" -s "$4" | tail -n 1`

// lastOf returns the position of the last record in the WAL directory that begins
// at the position or after it, 0 if there is none.
func lastOf(ctx context.Context, sh Shell, dir string, timeline uint32, from appliance.LSN) (appliance.LSN, error) {
	out, err := script(ctx, sh, remainderScript, program(sh.Layout(), "pg_waldump"), dir,
		strconv.FormatUint(uint64(timeline), 10), from.String())
	if err != nil {
		return 0, fmt.Errorf("reading the WAL in %s: %w", dir, err)
	}
	found := regexp.MustCompile(`\blsn: ([0-9A-F]+/[0-9A-F]+)`).FindStringSubmatch(out)
	if found == nil {
		return 0, nil
	}
	return appliance.ParseLSN(found[1])
}

// TakeWAL has a detached standby replay the WAL that the data directory dir of another
// member on the same machine holds beyond the standby's, and returns when it has. The
// other member's server must have ended. Queries don't hold up this replay. A repeat is
// safe; the next configuration that is written ends the reading.
func TakeWAL(ctx context.Context, sh Shell, conf Config, c *Control, dir string, timeline uint32) error {
	s, err := c.Standing(ctx)
	if err != nil {
		return err
	}
	wal := path.Join(dir, "pg_wal")
	last, err := lastOf(ctx, sh, wal, timeline, s.Replayed)
	if err != nil || last < s.Replayed {
		return err
	}
	conf.Apart, conf.FreeReplay, conf.RestoreFrom = true, true, wal
	if err := reconfigure(ctx, sh, conf); err != nil {
		return err
	}
	err = wait.Until(ctx, takePoll, func(ctx context.Context) (bool, error) {
		if _, err := freeReplay(ctx, sh, conf.Port, c); err != nil {
			return false, err
		}
		s, err := c.Standing(ctx)
		return s.Replayed > last, err
	})
	if err != nil {
		return fmt.Errorf("replaying the WAL in %s up to %s: %w", wal, last, err)
	}
	return nil
}

// restoreCommand copies a WAL file from the directory.
func restoreCommand(dir string) string {
	quoted := "'" + strings.ReplaceAll(strings.ReplaceAll(dir, "%", "%%"), "'", `'\''`) + "'"
	return `cp -- ` + quoted + `/"%f" "%p"`
}
