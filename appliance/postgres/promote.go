package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"pgapp/appliance"
)

// Promote asks a standby to become a primary, and doesn't wait for it: pg_promote's own
// wait looks every 100 ms only. Nothing streams to the standby any more. Before that it
// uncovers the standby's WAL, see [Uncover]. A repeat does nothing.
func Promote(ctx context.Context, sh Shell, c *Control) error {
	err := uncover(ctx, sh, func() (names []string, replayed appliance.LSN, err error) {
		var files, at string
		if err := c.row(ctx, `SELECT coalesce(string_agg(name, ' '), ''), coalesce(pg_last_wal_replay_lsn()::text, '')
FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'`, nil, &files, &at); err != nil {
			return nil, 0, err
		}
		replayed, err = appliance.ParseLSN(at)
		return strings.Fields(files), replayed, err
	})
	if err != nil {
		return err
	}
	return c.exec(ctx, "SELECT pg_promote(false) WHERE pg_is_in_recovery()")
}

// Uncover removes from a stopped standby what hides a part of its WAL. A repeat does nothing.
//
// A standby asks for a new timeline from the beginning of the segment in which that begins
// (walreceiver.c, WalReceiverMain). Where the new primary dies meanwhile, the standby is left
// with the first pages of that segment. PostgreSQL reads a position from the newest timeline's
// file alone, where there is one (xlogrecovery.c, XLogFileReadAnyTLI), and not from that of the
// timeline before, which has all: the standby can't be started without the dead primary, a
// promotion ends in a PANIC, or it loses what lies there and was not replayed.
func Uncover(ctx context.Context, sh Shell) error {
	return uncover(ctx, sh, func() ([]string, appliance.LSN, error) {
		// One without pg_wal has nothing that could be hidden; who reads it says so.
		files, err := script(ctx, sh, `ls -- "$1/pg_wal" 2>/dev/null || :`, sh.Layout().DataDir)
		return slices.DeleteFunc(strings.Fields(files), func(name string) bool { return len(name) != 24 }), 0, err
	})
}

// uncover removes hiding segments until list has none.
func uncover(ctx context.Context, sh Shell, list func() (names []string, replayed appliance.LSN, err error)) error {
	for {
		names, replayed, err := list()
		hiding := ""
		if err == nil {
			hiding, err = hidingSegment(ctx, sh, names, replayed)
		}
		if err != nil {
			return fmt.Errorf("looking for WAL that a newer timeline's hides: %w", err)
		}
		if hiding == "" {
			return nil
		}
		dir := path.Join(sh.Layout().DataDir, "pg_wal")
		if _, err := script(ctx, sh, `rm -- "$1/$2" && sync -- "$1"`, dir, hiding); err != nil {
			return fmt.Errorf("removing the begun WAL segment %s: %w", hiding, err)
		}
	}
}

// hidingSegment is the segment of the newest timeline among the files, if the timeline begins
// in it after all that is known to be replayed, and the segment doesn't reach there while that
// of the timeline before goes on.
func hidingSegment(ctx context.Context, sh Shell, files []string, replayed appliance.LSN) (string, error) {
	var newest uint64
	for _, name := range files {
		if n, err := strconv.ParseUint(name[:8], 16, 32); err == nil {
			newest = max(newest, n)
		}
	}
	ancestors, err := TimelineHistory(ctx, sh, uint32(newest)) // #nosec G115 -- 32 bits
	if err != nil || len(ancestors) == 0 {
		return "", err
	}
	parent := ancestors[len(ancestors)-1]
	begin, err := appliance.ParseLSN(parent.End)
	if err != nil || begin == 0 || replayed > begin {
		return "", err
	}
	segment := (begin - 1) - (begin-1)%walSegment
	later, before := segmentName(uint32(newest), segment), segmentName(parent.Timeline, segment) // #nosec G115 -- 32 bits
	if !slices.Contains(files, later) || !slices.Contains(files, before) {
		return "", nil
	}
	dir := path.Join(sh.Layout().DataDir, "pg_wal")
	if out, err := script(ctx, sh, `cd -- "$1" && cmp -s -n "$4" -- "$2" "$3" && echo same || :`, dir, later, before, strconv.FormatUint(uint64(begin-segment), 10)); err != nil || out == "same" {
		return "", err
	}
	var data [2][]byte
	for i, name := range []string{later, before} {
		data[i], err = sh.ReadFile(ctx, path.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) { // removed by a checkpoint
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("reading WAL segment %s: %w", name, err)
		}
	}
	if hides(data[0], data[1], segment, begin) {
		return later, nil
	}
	return "", nil
}

// hides tells whether the later timeline's segment ends before the position at which the
// timeline begins, while the segment of the timeline before goes on. Up to there both have the
// same bytes where they are complete, and the rest of a file may be zeros or older WAL. A
// walsender sends what is older than the last page by whole pages (walsender.c,
// XLogSendPhysical).
func hides(later, before []byte, segment, begin appliance.LSN) bool {
	n := min(int(begin-segment), len(later), len(before))
	if bytes.Equal(later[:n], before[:n]) {
		return false
	}
	page := 0
	for page+walPage < n && bytes.Equal(later[page:page+walPage], before[page:page+walPage]) {
		page += walPage
	}
	has := func(wal []byte, page int) bool {
		return pageAddress(wal[page:]) == segment+appliance.LSN(page) // #nosec G115 -- inside a segment
	}
	last := (n - 1) - (n-1)%walPage // what is received comes in order: a hole before it is damage
	return !has(later, page) && !has(later, last) && has(before, page)
}

// pageAddress is the position in the page's header (xlog_internal.h, XLogPageHeaderData).
func pageAddress(page []byte) appliance.LSN {
	const at = 8
	if len(page) < at+8 {
		return 0
	}
	return appliance.LSN(binary.NativeEndian.Uint64(page[at:]))
}
