package postgres

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// takePoll is the pause between two looks at the replay of the WAL that is taken.
const takePoll = 3 * time.Millisecond

// answerLimit bounds each question to a standby's server, which may be silent.
const answerLimit = 2 * time.Second

// ErrUnreadable says that a directory's WAL can't be read, by whomever.
var ErrUnreadable = errors.New("the WAL can't be read")

// EndOfRest returns the end of the last record in the WAL of the data directory dir on the
// timeline that begins at the position or after it, the position itself if there is none. It
// fails if the directory can't be read. Its server must have ended.
func EndOfRest(ctx context.Context, sh Shell, dir string, timeline uint32, from appliance.LSN) (appliance.LSN, error) {
	wal := path.Join(dir, "pg_wal")
	if end, ok := quickEnd(ctx, sh, wal, timeline, from); ok {
		return end, nil
	}
	last, err := lastRecord(ctx, sh, wal, timeline, from)
	var exit *appliance.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if err != nil {
		return 0, fmt.Errorf("reading the WAL in %s: %w", wal, err)
	}
	nothing := strings.Contains(last.why, "could not find a valid record") || strings.Contains(last.why, "could not find file")
	if last.end == 0 && !nothing {
		return 0, fmt.Errorf("reading the WAL in %s: %w: pg_waldump ended with %q", wal, ErrUnreadable, last.why)
	}
	if beyond := last.beyond(from); last.end == 0 && beyond > 0 {
		return 0, fmt.Errorf("reading the WAL in %s: WAL between %s and %s is missing", wal, from, beyond)
	}
	return max(last.end, from), nil
}

// quickLimit bounds the quick look for the end of the rest.
const quickLimit = time.Second

// quickScript prints why pg_waldump $1 ends in the directory $2 that begins at $4 in the
// segment $3, and then the first pages' headers of the timeline's segments. pg_waldump takes
// the segments' size from the first one, and reads as far as the last one. As few programs as
// can be: while clients storm the other members, each costs a turn of the processor.
const quickScript = `cd -- "$2" || exit
waldump=$1 first=$3 start=$4
set -- "${3%????????????????}"????????????????
for last; do :; done
"$waldump" --quiet --path=. --start="$start" "$first" "$last" 2>&1
echo "$@" && head -qc 16 -- "$@" | od -An -v -tx8 -w16`

// quickEnd is [EndOfRest] where the WAL ends as it usually does, by zeros behind the last
// record of a segment that exists; ok is false otherwise.
func quickEnd(ctx context.Context, sh Shell, wal string, timeline uint32, from appliance.LSN) (end appliance.LSN, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, quickLimit)
	defer cancel()
	res, err := sh.Run(ctx, appliance.Command{Env: pgEnv(), Argv: []string{
		"/bin/sh", "-c", quickScript, "sh", program(sh.Layout(), "pg_waldump"), wal, fmt.Sprintf("%08X", timeline) + segmentOf(from), from.String(),
	}})
	if err != nil {
		return 0, false
	}
	return parseQuick(string(res.Stdout), from)
}

// zeros is what pg_waldump says at the end of the WAL (ReadPageInternal and
// XLogDecodeNextRecord in xlogreader.c).
var zeros = regexp.MustCompile(`error in WAL record at [0-9A-F]+/[0-9A-F]+: invalid record length at ([0-9A-F]+/[0-9A-F]+): expected at least \d+, got 0$`)

func parseQuick(out string, from appliance.LSN) (end appliance.LSN, ok bool) {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) < 3 {
		return 0, false
	}
	nothing := strings.Contains(lines[0], "could not find a valid record after ")
	switch m := zeros.FindStringSubmatch(lines[0]); {
	case m != nil:
		at, err := appliance.ParseLSN(m[1])
		if err != nil {
			return 0, false
		}
		end = beforeHeader(at)
	case nothing:
		end = from
	default:
		return 0, false
	}
	t := walTail{}
	names, headers := strings.Fields(lines[1]), lines[2:]
	if len(names) != len(headers) {
		return 0, false
	}
	for i, name := range names {
		words := strings.Fields(headers[i])
		if start, ok := parseSegment("segment " + name + " " + words[len(words)-1]); ok {
			t.segments = append(t.segments, start)
			if nothing && start > from { // the record may reach into that one
				return 0, false
			}
		}
	}
	return end, end >= from && t.beyond(end) == 0
}

// beforeHeader is the position of a record as the end of the one before it: between the two
// there may be the header of a page.
func beforeHeader(at appliance.LSN) appliance.LSN {
	switch {
	case at%walSegment == walLongHeader:
		return at - walLongHeader
	case at%walPage == walPageHeader:
		return at - walPageHeader
	}
	return at
}

// TakeWAL has a detached standby, which has replayed up to from, replay the WAL that the
// data directory dir of another member on the same machine holds beyond it, up to end, which
// [EndOfRest] has found. It returns the standby's position when that is done, and with an
// error how far it was seen to have replayed. The other member's server must have ended.
// Queries don't hold up this replay. A repeat is safe. The standby goes on reading, also after
// an error, until another configuration is written ([LeaveWAL]).
func TakeWAL(ctx context.Context, sh Shell, conf Config, c *Control, dir string, timeline uint32, from, end appliance.LSN) (appliance.LSN, error) {
	wal := path.Join(dir, "pg_wal")
	conf.Apart, conf.FreeReplay, conf.Restore = true, true, Restore{From: wal, Timeline: timeline}
	if err := reconfigure(ctx, sh, conf, c.Reload); err != nil {
		return from, err
	}
	var position appliance.LSN
	replayed := from
	err := wait.Until(ctx, takePoll, func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, answerLimit)
		defer cancel()
		if _, err := freeReplay(ctx, sh, conf.Port, c); err != nil {
			return false, err
		}
		s, err := c.Standing(ctx)
		position, replayed = max(s.Received, s.Replayed), max(replayed, s.Replayed)
		return s.Replayed >= end, err
	})
	if err != nil {
		return replayed, fmt.Errorf("replaying the WAL in %s up to %s: %w", wal, end, err)
	}
	return position, nil
}

// LeaveWAL ends the reading that [TakeWAL] began, also of a standby whose server is silent:
// that reads the configuration when it goes on. A repeat is safe.
func LeaveWAL(ctx context.Context, sh Shell, conf Config) error {
	conf.Apart = true
	return reconfigure(ctx, sh, conf, nil)
}

// Restore says from where a standby takes WAL files.
type Restore struct {
	// From is a directory on the member's machine, empty for none.
	From string
	// Timeline is the one whose files are taken.
	Timeline uint32
}

// command copies a WAL file from the directory. A link would not do: the standby writes over
// the segments that it no longer needs. Files of later timelines are never taken: the
// directory's member may follow a new primary by now, and a standby that has gone there
// through it can't be told from one that another promotion has led astray.
func (r Restore) command() string {
	quoted := "'" + strings.ReplaceAll(strings.ReplaceAll(r.From, "%", "%%"), "'", `'\''`) + "'"
	return fmt.Sprintf(`case "%%f" in %08X*) exec cp -- %s/"%%f" "%%p";; esac; exit 1`, r.Timeline, quoted)
}
