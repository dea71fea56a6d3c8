package postgres

import (
	"context"
	"errors"
	"io"
	"path"
	"strconv"

	"golang.org/x/sync/errgroup"

	"pgapp/appliance"
)

// Seed is a data directory to copy instead of making one.
type Seed struct {
	// WriteTar writes it as a tar stream.
	WriteTar func(ctx context.Context, w io.Writer) error
	// Segment is the WAL segment that is completed to SegmentBytes: the stream
	// holds it without the zeros at its end.
	Segment      string
	SegmentBytes int64
}

// completeScript gives the segment its full size on disk, so that writing it
// later can't fail for want of space; where the file system can't, at least in
// length.
const completeScript = `fallocate -l "$2" -- "$1" 2>/dev/null || truncate -s "$2" -- "$1"`

// SeedDataDir makes the data directory a copy of the seed, not yet durable
// (see [SyncDataDir]). It returns at once where there is an initialised one; a
// directory with anything else is a [appliance.Problem] with id
// data-dir-foreign. What a killed attempt left is replaced.
func SeedDataDir(ctx context.Context, sh Shell, seed Seed) error {
	l := sh.Layout()
	d, err := InspectDataDir(ctx, sh)
	if err != nil {
		return err
	}
	if d.Foreign {
		return foreignDir(l.DataDir)
	}
	if d.Initialised {
		return nil
	}
	what := "copying the template to " + l.DataDir
	if err := preparePartial(ctx, sh); err != nil {
		return failure(appliance.ErrPostgresStart, err, "%s", what)
	}
	if err := unpackSeed(ctx, sh, seed); err != nil {
		return failure(appliance.ErrPostgresStart, err, "%s", what)
	}
	if err := finishPartial(ctx, sh); err != nil {
		return failure(appliance.ErrPostgresStart, err, "%s", what)
	}
	return nil
}

func unpackSeed(ctx context.Context, sh Shell, seed Seed) error {
	dir := partialData(sh.Layout())
	if _, err := script(ctx, sh, `mkdir -m 0700 -- "$1"`, dir); err != nil {
		return err
	}
	r, w := io.Pipe()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := seed.WriteTar(gctx, w)
		_ = w.CloseWithError(err) // nil means end of file
		if errors.Is(err, io.ErrClosedPipe) {
			return nil // tar has ended early and says why
		}
		return err
	})
	g.Go(func() error {
		_, err := sh.Run(gctx, appliance.Command{Argv: []string{"tar", "-x", "-f", "-", "-C", dir}, Stdin: r})
		_ = r.CloseWithError(io.ErrClosedPipe)
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	_, err := script(ctx, sh, completeScript, path.Join(dir, "pg_wal", seed.Segment), strconv.FormatInt(seed.SegmentBytes, 10))
	return err
}
