package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"pgapp/appliance"
)

// WALEnd is the end of the WAL in a stopped member's data directory.
type WALEnd struct {
	Line appliance.Line
	// At is the end of the last valid record.
	At appliance.LSN
	// Cut is set if the WAL ends with a whole segment. It has ended so, or the next
	// segment was removed.
	Cut bool
	// Told is a later timeline that the directory has the history of, and no WAL, as that
	// of a new primary that a standby could not follow. Its number is 0 if there is none.
	Told appliance.Line
}

// pgEnv is the environment of PostgreSQL's programs whose output is read.
func pgEnv() map[string]string { return map[string]string{"TZ": "UTC"} }

// walScript prints what pg_controldata $2 says of the data directory $1, and lists
// its WAL.
const walScript = `set -eu
"$2" -D "$1"
ls -- "$1/pg_wal"`

// EndOfWAL finds the end of a stopped member's WAL by reading it from the last
// checkpoint, as the member's crash recovery would. It changes nothing.
func EndOfWAL(ctx context.Context, sh Shell) (WALEnd, error) {
	l := sh.Layout()
	what := "finding the end of the WAL in " + l.DataDir
	out, err := script(ctx, sh, walScript, l.DataDir, program(l, "pg_controldata"))
	if err != nil {
		return WALEnd{}, failure(appliance.ErrRewind, err, "%s", what)
	}
	found, err := parseWAL(out)
	if err != nil {
		return WALEnd{}, failure(appliance.ErrRewind, err, "%s", what)
	}
	line, err := ReadLine(ctx, sh, found.highest)
	if err != nil {
		return WALEnd{}, failure(appliance.ErrRewind, err, "%s", what)
	}
	var told appliance.Line
	if found.told > found.highest {
		if told, err = ReadLine(ctx, sh, found.told); err != nil {
			return WALEnd{}, failure(appliance.ErrRewind, err, "%s", what)
		}
	}
	from := found.redo
	if n := len(line.Ancestors); n > 0 && line.Timeline != found.timeline {
		from = line.Ancestors[n-1].At
	}
	last, err := lastRecord(ctx, sh, l.DataDir+"/pg_wal", line.Timeline, from)
	if err != nil {
		return WALEnd{}, failure(appliance.ErrRewind, err, "%s", what)
	}
	// The checkpoint is a record, but a new timeline may have none yet.
	if last.end == 0 && from == found.redo {
		return WALEnd{}, appliance.NewProblem(appliance.ErrRewind, "%s: it can't be read from the last checkpoint on: %s", what, last.why)
	}
	end := WALEnd{Line: line, At: max(last.end, from), Cut: strings.Contains(last.why, "could not find file"), Told: told}
	if beyond := last.beyond(end.At); beyond > 0 {
		return WALEnd{}, appliance.NewProblem(appliance.ErrRewind, "%s: WAL between %s and %s is missing", what, end.At, beyond)
	}
	return end, nil
}

// walFound is what a data directory says of its WAL.
type walFound struct {
	// redo is where crash recovery begins, on the timeline.
	redo     appliance.LSN
	timeline uint32
	// highest is the highest timeline of which there is WAL, told that of which there is
	// a history.
	highest, told uint32
}

func parseWAL(out string) (walFound, error) {
	var f walFound
	name := regexp.MustCompile(`^([0-9A-F]{8})([0-9A-F]{16}|\.history)$`)
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if m := name.FindStringSubmatch(line); m != nil {
			n, err := strconv.ParseUint(m[1], 16, 32)
			switch {
			case err != nil:
			case m[2] == ".history":
				f.told = max(f.told, uint32(n))
			default:
				f.highest = max(f.highest, uint32(n))
			}
			continue
		}
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		var n uint64
		var err error
		switch key {
		case "Latest checkpoint's REDO location":
			f.redo, err = appliance.ParseLSN(value)
		case "Latest checkpoint's TimeLineID":
			n, err = strconv.ParseUint(value, 10, 32)
			f.timeline = uint32(n)
			f.highest = max(f.highest, f.timeline)
		case "Min recovery ending loc's timeline":
			n, err = strconv.ParseUint(value, 10, 32)
			f.highest = max(f.highest, uint32(n))
		}
		if err != nil {
			return walFound{}, fmt.Errorf("reading pg_controldata's %q: %w", line, err)
		}
	}
	if f.redo == 0 || f.timeline == 0 {
		return walFound{}, errors.New("pg_controldata names no checkpoint")
	}
	return f, nil
}

// usedSegments links the segments in $2 that have been written to, in a directory $d,
// but for those at positions before $first. pg_waldump asks any segment for its size, and
// fails if it comes upon one that was made in advance, which is empty.
const usedSegments = `set -eu
ls -- "$2" >/dev/null
d=$(mktemp -d)
trap 'rm -rf -- "$d"' EXIT
for f in "$2"/????????????????????????; do
	n=${f##*/}
	[ ! "${n#????????}" \< "$first" ] || continue
	cmp -s -n 2 -- "$f" /dev/zero || ln -s -- "$f" "$d/"
done
`

// lastRecordScript prints the last record that pg_waldump $1 reads in $2 on timeline
// $3 from $4 on, which is in segment $5, and then the timeline's segments, each with the position that its first
// page has. The end of the WAL is an error to pg_waldump, so its exit code says nothing.
//
// A description costs far more than the record's check, above all that of a logical
// message, which is written out byte by byte. So all records are checked first, and only
// the last one, whose position pg_waldump's error has, is described, by its beginning. The
// error for a segment that doesn't exist has no position: then the records of the segment
// before it are described, or all if none begins there, and not beyond: pg_waldump waits
// for such a segment for 5 s.
const lastRecordScript = "first=$5\n" + usedSegments + `end=$("$1" --quiet --path="$d" --timeline="$3" --start="$4" 2>&1) || :
at=$(printf '%s\n' "$end" | sed -n 's|.*error in WAL record at \([0-9A-F]*/[0-9A-F]*\): .*|\1|p')
gap=$(printf '%s\n' "$end" | sed -n 's|.*could not find file "[0-9A-F]\{8\}\([0-9A-F]*\)".*|\1|p')
if [ "$gap" ]; then
	for f in "$d/$(printf %08X "$3")"*; do
		n=${f##*/}
		n=${n#????????}
		[ ! "$n" \< "$gap" ] || at=$n
	done
	[ "$at" != "$5" ] || at=
	at=${at:+${at%????????}/${at#??????????????}000000}
	gap=${gap%????????}/${gap#??????????????}000000
	[ -z "$at" ] || "$1" --quiet --path="$d" --timeline="$3" --start="$at" --end="$gap" --limit=1 >/dev/null 2>&1 || at=
fi
"$1" --path="$d" --timeline="$3" --start="${at:-$4}" ${gap:+--end="$gap"} 2>/dev/null | tail -n 1 | cut -c 1-400
printf '%s\n' "$end" >&2
for f in "$d/$(printf %08X "$3")"*; do
	[ ! -e "$f" ] || echo "segment ${f##*/}" $(od -An -tx8 -j8 -N8 -- "$f")
done`

// walTail is the end of the WAL as pg_waldump reads it.
type walTail struct {
	// end is the end of the last valid record, 0 if there is none.
	end appliance.LSN
	// why is pg_waldump's reason for its end.
	why string
	// segments are the positions at which segments with WAL of their own begin. One that
	// was kept for a later use has another segment's WAL.
	segments []appliance.LSN
}

// beyond returns the start of a segment with WAL that can't have come after the end
// without a gap, 0 if there is none. A record that was not written to its end may reach
// into the next segment.
func (t walTail) beyond(end appliance.LSN) appliance.LSN {
	next := (end + walSegment - 1) / walSegment * walSegment
	for _, start := range t.segments {
		if start > next {
			return start
		}
	}
	return 0
}

// lastRecord finds the last valid record in the WAL directory from that position on.
func lastRecord(ctx context.Context, sh Shell, wal string, timeline uint32, from appliance.LSN) (walTail, error) {
	res, err := sh.Run(ctx, appliance.Command{Env: pgEnv(), Argv: []string{
		"/bin/sh", "-c", lastRecordScript, "sh", program(sh.Layout(), "pg_waldump"), wal,
		strconv.FormatUint(uint64(timeline), 10), from.String(),
		segmentOf(from),
	}})
	if err != nil {
		return walTail{}, err
	}
	t := walTail{why: firstComplaint(string(res.Stderr))}
	for line := range strings.Lines(string(res.Stdout)) {
		line = strings.TrimSpace(line)
		if start, length, ok := parseRecord(line); ok {
			t.end = recordEnd(start, length)
		}
		if start, ok := parseSegment(line); ok {
			t.segments = append(t.segments, start)
		}
	}
	return t, nil
}

// parseSegment returns where the segment begins, if its first page is its own.
func parseSegment(line string) (appliance.LSN, bool) {
	m := regexp.MustCompile(`^segment [0-9A-F]{8}([0-9A-F]{8})000000([0-9A-F]{2}) ([0-9a-f]{16})$`).FindStringSubmatch(line)
	if m == nil || !strings.EqualFold(m[1]+m[2]+"000000", m[3]) {
		return 0, false
	}
	start, err := strconv.ParseUint(m[3], 16, 64)
	return appliance.LSN(start), err == nil
}

// parseRecord reads the length and position of a record that pg_waldump printed.
func parseRecord(line string) (at appliance.LSN, length uint64, ok bool) {
	m := regexp.MustCompile(`len \(rec/tot\):\s*\d+/\s*(\d+), tx:\s*\d+, lsn: ([0-9A-F]+/[0-9A-F]+),`).FindStringSubmatch(line)
	if m == nil {
		return 0, 0, false
	}
	length, err := strconv.ParseUint(m[1], 10, 32)
	at, err2 := appliance.ParseLSN(m[2])
	return at, length, err == nil && err2 == nil
}

// The layout of WAL: pages begin with a header, a longer one at the beginning of a
// segment (access/xlog_internal.h), and records are aligned.
const (
	walPage       = 8192
	walSegment    = 16 << 20
	walPageHeader = 24
	walLongHeader = 40
	walAlign      = 8
)

// segmentOf is the name of the segment with the position, without its timeline.
func segmentOf(at appliance.LSN) string {
	return fmt.Sprintf("%08X%08X", uint64(at)>>32, uint64(at)%(1<<32)/walSegment)
}

// recordEnd returns the position after the record.
func recordEnd(start appliance.LSN, length uint64) appliance.LSN {
	at, left := uint64(start), length
	for {
		if at%walSegment == 0 {
			at += walLongHeader
		} else if at%walPage == 0 {
			at += walPageHeader
		}
		room := walPage - at%walPage
		if left <= room {
			at += left
			return appliance.LSN((at + walAlign - 1) / walAlign * walAlign)
		}
		at, left = at+room, left-room
	}
}
