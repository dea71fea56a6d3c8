package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"pgapp/appliance"
)

// TemplateTarget is a machine that a data directory can be copied to.
type TemplateTarget interface {
	Shell
	appliance.TreeWriter
}

// vacateScript removes the empty directory that may be in the place of the
// data directory $2.
const vacateScript = `if [ -e "$2" ]; then rmdir -- "$2" 2>/dev/null || { echo occupied; exit 0; }; fi
`

// CopyTemplate makes the data directory of those files, not yet durable (see
// [SyncDataDir]). There may be none yet, or an empty one. What a killed attempt
// left is replaced; what pgapp did not make is a [appliance.Problem] with id
// data-dir-foreign.
func CopyTemplate(ctx context.Context, m TemplateTarget, files appliance.TreeFiles) error {
	l := m.Layout()
	out, err := script(ctx, m, vacateScript+prepareScript, partialDir(l), l.DataDir)
	if err != nil {
		return failure(appliance.ErrPostgresStart, err, "preparing %s", l.DataDir)
	}
	switch out {
	case "ready":
	case "occupied":
		return foreignDir(l.DataDir)
	default:
		return foreignPartial(partialDir(l))
	}
	if err := m.WriteTree(ctx, partialData(l), files); err != nil {
		return failure(appliance.ErrPostgresStart, err, "copying the template to %s", l.DataDir)
	}
	if err := finishPartial(ctx, m); err != nil {
		return failure(appliance.ErrPostgresStart, err, "putting %s in its place", l.DataDir)
	}
	return nil
}

// Configured are the files of a data directory together with those that
// [Configure] would write there, which then finds them and needn't wait for the
// disk for each.
func Configured(files appliance.TreeFiles, l appliance.Layout, c Config) (appliance.TreeFiles, error) {
	rendered, err := renderFiles(l, c)
	if err != nil {
		return nil, fmt.Errorf("configuring member %q: %w", c.Member, err)
	}
	more := rendered.rest
	if len(c.Parameters) == 0 { // else PostgreSQL is to read it first
		more = append(more, file{path.Join(l.DataDir, ConfFile), rendered.conf})
	}
	if c.Primary != nil {
		more = append(more, file{path: path.Join(l.DataDir, "standby.signal")})
	}
	return func(yield func(appliance.TreeFile, error) bool) {
		for f, err := range files {
			if !yield(f, err) {
				return
			}
		}
		for _, f := range more {
			if !yield(appliance.TreeFile{Name: path.Base(f.path), Content: bytes.NewReader(f.data)}, nil) {
				return
			}
		}
	}, nil
}

// CopiedFromTemplate tells whether [CopyTemplate] has ended: the directory gets its name
// only when it is whole. Whose it is, [InspectDataDir] tells.
func CopiedFromTemplate(ctx context.Context, sh Shell) (bool, error) {
	_, err := sh.ReadFile(ctx, path.Join(sh.Layout().DataDir, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
