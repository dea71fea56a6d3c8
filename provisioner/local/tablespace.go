package local

import (
	"os"
	"path/filepath"
	"strings"

	"pgapp/appliance"
	"pgapp/appliance/doctor"
)

// tablespaceDir is the directory of PostgreSQL's links to the tablespaces.
const tablespaceDir = "pg_tblspc"

// tablespace is a tablespace outside the data directory.
type tablespace struct{ oid, location string }

// tablespaces lists the tablespaces that the data directory links to.
func (m *place) tablespaces() []tablespace {
	dir := filepath.Join(m.Layout().DataDir, tablespaceDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var out []tablespace
	for _, e := range entries {
		if location, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && filepath.IsAbs(location) {
			out = append(out, tablespace{e.Name(), location})
		}
	}
	return out
}

func tablespaceFinding(landlock int) appliance.Finding {
	const id = "local-tablespace"
	if landlock == 0 {
		return doctor.Advise(doctor.Found(id, appliance.LevelWarn, "the kernel has no Landlock: nothing stops a CREATE TABLESPACE, although all members would write to its directory"),
			"make no tablespace on local members; or boot a kernel with Landlock (5.13 or newer, lsm=landlock,…)")
	}
	return doctor.Found(id, appliance.LevelPass, "servers can't make tablespaces, because all members would write to their directories (Landlock %d)", landlock)
}

// isStandby reports whether the data directory belongs to a standby.
func (m *place) isStandby() bool {
	_, err := os.Lstat(filepath.Join(m.Layout().DataDir, "standby.signal"))
	return err == nil
}

// refuseTablespaces refuses to start a standby if the standby or its primary has
// a tablespace. WAL contains the tablespace's absolute path, which on this
// machine is also the primary's path, and replay would destroy the primary's
// data there.
func (m *machine) refuseTablespaces() error {
	if !m.shared || !m.isStandby() {
		return nil
	}
	markers, err := filepath.Glob(filepath.Join(globEscape(filepath.Dir(m.dir)), "*", markerFile))
	if err != nil {
		return err
	}
	var found []string
	seen := map[string]bool{}
	for _, path := range markers {
		o := *m
		o.dir = filepath.Dir(path)
		o.member = filepath.Base(o.dir)
		if o.member != m.member && o.isStandby() {
			continue
		}
		for _, t := range o.tablespaces() {
			if !seen[t.location] {
				seen[t.location] = true
				found = append(found, t.location)
			}
		}
	}
	if len(found) == 0 {
		return nil
	}
	return appliance.TablespaceProblem("standby "+m.member, strings.Join(found, ", "))
}
