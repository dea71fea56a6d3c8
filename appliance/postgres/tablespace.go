package postgres

import (
	"context"
	"strings"

	"pgapp/appliance"
)

// CheckTablespaces is verify's check of a cluster whose members share a machine.
// It is listed only if it fails.
const CheckTablespaces = "tablespaces"

const tablespacesSQL = `SELECT format('%s at %s', spcname, pg_tablespace_location(oid))
FROM pg_tablespace WHERE pg_tablespace_location(oid) LIKE '/%' ORDER BY spcname`

// Tablespaces lists the tablespaces with a directory outside of the data
// directory, and their locations.
func (c *Control) Tablespaces(ctx context.Context) ([]string, error) {
	return c.strings(ctx, tablespacesSQL)
}

// RefuseTablespaces returns a Problem with id tablespace-local if the primary has
// tablespaces, to which what would write too.
func RefuseTablespaces(ctx context.Context, primary *Control, what string) error {
	found, err := primary.Tablespaces(ctx)
	if err != nil || len(found) == 0 {
		return err
	}
	return appliance.TablespaceProblem(what, strings.Join(found, ", "))
}

// TablespaceDetail is ps's text for a standby that shares the tablespaces.
func TablespaceDetail(found []string) string {
	return string(appliance.ErrTablespace) + ": the standby writes to the primary's tablespace (" + strings.Join(found, ", ") + ")"
}

// tablespaceHint explains a CREATE TABLESPACE that the provider refused.
const tablespaceHint = "members on one machine would all write to the tablespace's directory: remove CREATE TABLESPACE, or use virtual machines (--provider libvirt)"

// refusedTablespace tells whether the message is that of a CREATE TABLESPACE in a
// server confined to its data directory.
func refusedTablespace(message string) bool {
	return strings.Contains(message, "could not create directory") && strings.Contains(message, "/PG_17_") && strings.Contains(message, "Permission denied")
}

// askTablespaces lists the tablespaces if members share a machine.
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

// tablespaceChecks lists the check only if it failed.
func (v *verification) tablespaceChecks(m *subject) []appliance.Check {
	if m != v.primary || v.tablespaces.ok || v.tablespaces.detail == "" {
		return nil
	}
	return []appliance.Check{{Name: CheckTablespaces, Member: m.Member, Detail: v.tablespaces.detail}}
}
