package postgres

import (
	"context"
	"strings"

	"pgapp/appliance"
)

// CheckTablespaces is verify's check of a cluster whose members share a
// machine. It is listed where it fails.
const CheckTablespaces = "tablespaces"

const tablespacesSQL = `SELECT format('%s at %s', spcname, pg_tablespace_location(oid))
FROM pg_tablespace WHERE pg_tablespace_location(oid) LIKE '/%' ORDER BY spcname`

// Tablespaces names the tablespaces that have a directory outside of the data
// directory, with their locations.
func (c *Control) Tablespaces(ctx context.Context) ([]string, error) {
	return c.strings(ctx, tablespacesSQL)
}

// RefuseTablespaces returns a Problem with id tablespace-local where the
// primary has a tablespace that what would write to as well.
func RefuseTablespaces(ctx context.Context, primary *Control, what string) error {
	found, err := primary.Tablespaces(ctx)
	if err != nil || len(found) == 0 {
		return err
	}
	return appliance.TablespaceProblem(what, strings.Join(found, ", "))
}

// TablespaceDetail is what ps says of a standby that shares them.
func TablespaceDetail(found []string) string {
	return string(appliance.ErrTablespace) + ": it writes to the primary's own tablespace (" + strings.Join(found, ", ") + ")"
}

// tablespaceHint explains a CREATE TABLESPACE that the provider has refused.
const tablespaceHint = "members on one machine would all write to the tablespace's directory: leave out CREATE TABLESPACE, or use machines of their own (--provider libvirt)"

// refusedTablespace tells whether a server's message is how a CREATE
// TABLESPACE fails in a server that is kept to its data directory.
func refusedTablespace(message string) bool {
	return strings.Contains(message, "could not create directory") && strings.Contains(message, "/PG_17_") && strings.Contains(message, "Permission denied")
}

// askTablespaces looks for tablespaces where members share a machine.
func (v *verification) askTablespaces(ctx context.Context) {
	if !v.in.SharedMachine || len(v.members) < 2 || v.primary == nil || v.primary.err != nil {
		return
	}
	found, err := v.primary.admin.Tablespaces(ctx)
	switch {
	case err != nil:
		v.tablespaces = fail("the tablespaces can't be read: %s", why(err))
	case len(found) > 0:
		v.tablespaces = fail("all members write to the same directories: %s", sentence(found))
	default:
		v.tablespaces = pass("there are none")
	}
}

// tablespaceChecks is empty where there is nothing to tell.
func (v *verification) tablespaceChecks(m *subject) []appliance.Check {
	if m != v.primary || v.tablespaces.ok || v.tablespaces.detail == "" {
		return nil
	}
	return []appliance.Check{{Name: CheckTablespaces, Member: m.Member, Detail: v.tablespaces.detail}}
}
