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

// TemplateTarget is a machine to which a data directory can be copied.
type TemplateTarget interface {
	Shell
	appliance.TreeWriter
}

// vacateScript removes the data directory $2 if it is empty.
const vacateScript = `if [ -e "$2" ]; then rmdir -- "$2" 2>/dev/null || { echo occupied; exit 0; }; fi
`

// CopyTemplate makes the data directory from the files, not yet durable (see
// [SyncDataDir]). The directory must be missing or empty. The remains of a killed
// attempt are replaced; files that pgapp did not make are a [appliance.Problem]
// with id data-dir-foreign.
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

// Configured returns the files of a data directory and those that [Configure]
// would write, so that Configure finds them and need not sync each.
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

// CopiedFromTemplate tells whether [CopyTemplate] has succeeded: the directory gets its name
// only when complete. [InspectDataDir] tells to which cluster it belongs.
func CopiedFromTemplate(ctx context.Context, sh Shell) (bool, error) {
	_, err := sh.ReadFile(ctx, path.Join(sh.Layout().DataDir, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
