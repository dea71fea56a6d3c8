package postgres

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"

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

// seedScript clears what an earlier attempt left in the partial directory $1
// (see prepareScript), unpacks the stream on standard input below it, gives the
// WAL segment $3 its full size $4 on disk, so that writing it later can't fail
// for want of space (where the file system can't do that, at least in length),
// and puts all in the place of $2, where at most an empty directory may be. One
// script, since starting programs is most of the cost.
const seedScript = `set -eu
p=$1
if [ -L "$p" ]; then echo foreign; exit 0; fi
if [ -e "$p" ]; then
	if [ -f "$p/.pgapp" ]; then rm -rf -- "$p/data"; rm -f -- "$p/.pgapp"; fi
	rmdir -- "$p" 2>/dev/null || { echo foreign; exit 0; }
fi
if [ -e "$2" ]; then rmdir -- "$2" 2>/dev/null || { echo occupied; exit 0; }; fi
mkdir -m 0700 -- "$p"
: >"$p/.pgapp"
mkdir -m 0700 -- "$p/data"
tar -x -f - -C "$p/data"
fallocate -l "$4" -- "$p/data/pg_wal/$3" 2>/dev/null || truncate -s "$4" -- "$p/data/pg_wal/$3"
mv -T -- "$p/data" "$2"
rm -f -- "$p/.pgapp"
rmdir -- "$p"
echo ready`

// SeedDataDir makes the data directory a copy of the seed, not yet durable
// (see [SyncDataDir]). There may be none yet, or an empty one. What a killed
// attempt left is replaced; what pgapp did not make is a [appliance.Problem]
// with id data-dir-foreign.
func SeedDataDir(ctx context.Context, sh Shell, seed Seed) error {
	l := sh.Layout()
	out, err := unpackSeed(ctx, sh, seed)
	if err != nil {
		return failure(appliance.ErrPostgresStart, err, "copying the template to %s", l.DataDir)
	}
	switch out {
	case "ready":
		return nil
	case "occupied":
		return foreignDir(l.DataDir)
	}
	return foreignPartial(partialDir(l))
}

// Seeded tells whether [SeedDataDir] has ended: the directory gets its name
// only when it is whole. Whose it is, [InspectDataDir] tells.
func Seeded(ctx context.Context, sh Shell) (bool, error) {
	_, err := sh.ReadFile(ctx, path.Join(sh.Layout().DataDir, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func unpackSeed(ctx context.Context, sh Shell, seed Seed) (string, error) {
	l := sh.Layout()
	r, w := io.Pipe()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := seed.WriteTar(gctx, w)
		_ = w.CloseWithError(err) // nil means end of file
		if errors.Is(err, io.ErrClosedPipe) {
			return nil // the script has ended early and says why
		}
		return err
	})
	var res appliance.Result
	g.Go(func() error {
		var err error
		res, err = sh.Run(gctx, appliance.Command{
			Argv: []string{
				"/bin/sh", "-c", seedScript, "sh", partialDir(l), l.DataDir,
				seed.Segment, strconv.FormatInt(seed.SegmentBytes, 10),
			},
			Stdin: r,
		})
		_ = r.CloseWithError(io.ErrClosedPipe)
		return err
	})
	err := g.Wait()
	return strings.TrimSpace(string(res.Stdout)), err
}
