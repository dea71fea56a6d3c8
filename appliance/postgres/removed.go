package postgres

import (
	"context"
	"fmt"
	"strings"
)

// ServerLog reads a member's server log from where its first look found the log's end.
type ServerLog struct {
	Shell Shell
	// end is the file and its size at the last look.
	end string
}

// removedScript prints the inode and the size of the log $1, and then the last WAL segment
// that the log names as removed since the inode and the size $2. A log that was replaced is
// read from its beginning. At most the last MiB is read.
const removedScript = `set -eu
now=$(stat -c '%i %s' -- "$1" 2>/dev/null) || exit 0
echo "$now"
[ -n "$2" ] || exit 0
from=0
[ "${now% *}" != "${2% *}" ] || from=${2#* }
tail -c "+$((from + 1))" -- "$1" | tail -c 1048576 |
	sed -n 's/.*requested WAL segment \([0-9A-F]\{24\}\) has already been removed.*/\1/p' | tail -n 1`

// RemovedWAL returns the WAL segment that the standby asks its primary for although the
// primary has removed it, empty if the log names none since the last look. A standby without
// an archive never goes on then, and repeats the message at each attempt
// (wal_retrieve_retry_interval). A primary whose lc_messages is another language than
// English has another message, which RemovedWAL doesn't find.
func (l *ServerLog) RemovedWAL(ctx context.Context) (string, error) {
	out, err := script(ctx, l.Shell, removedScript, l.Shell.Layout().LogFile, l.end)
	if err != nil {
		return "", fmt.Errorf("reading the server's log: %w", err)
	}
	end, segment, _ := strings.Cut(out, "\n")
	l.end = end
	return strings.TrimSpace(segment), nil
}
