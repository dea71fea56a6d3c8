package postgres

import (
	"context"
)

// readableSQL counts the user's tables and views that the role may read. If there
// are none, the login alone is proven.
const readableSQL = `SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
	AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')`

// logInAsApplication logs in with the recorded password, as the application does,
// and reads.
func (m *subject) logInAsApplication(ctx context.Context, in VerifyInput) (readable int, err error) {
	c, err := ConnectAs(ctx, RoleApp, m.Host, m.Port, in.Database, in.AppPassword)
	if err != nil {
		return 0, err
	}
	defer c.closeQuietly(ctx)
	err = c.row(ctx, readableSQL, nil, &readable)
	return readable, err
}

func (m *subject) applicationVerdict(readable int, err error) verdict {
	switch {
	case err != nil && m.delayed() && Refused(err):
		return excuse("role %s can't log in yet: %s: %s", RoleApp, why(err), m.delayText())
	case err != nil:
		return fail("role %s can't log in and read: %s", RoleApp, why(err))
	}
	return pass("role %s logs in, and may read %d tables and views", RoleApp, readable)
}

// SQLSTATEs of a login that the catalogues don't allow.
const (
	stateNoDatabase = "3D000" // invalid_catalog_name
	stateBadLogin   = "28000" // invalid_authorization_specification
	stateBadSecret  = "28P01" // invalid_password
)

// Refused tells whether a running server doesn't know the database, the role or
// the password, as a standby that has not replayed them yet.
func Refused(err error) bool {
	return hasState(err, stateNoDatabase) || hasState(err, stateBadLogin) || hasState(err, stateBadSecret)
}
