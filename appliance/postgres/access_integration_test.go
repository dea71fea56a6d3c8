//go:build integration

package postgres_test

import (
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

func TestVerifyWorksInHardenedDatabases(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	primary, ctx := c.members[0], t.Context()
	for _, db := range []string{"postgres", "films"} {
		if _, err := postgres.SuperuserSQL(ctx, primary, primary.port, db, `REVOKE ALL ON SCHEMA public FROM PUBLIC;
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC; ALTER DATABASE %1$I SET default_transaction_isolation = serializable;
ALTER DATABASE %1$I SET datestyle = german; ALTER DATABASE %1$I SET default_transaction_read_only = on; ALTER DATABASE %1$I SET search_path = nowhere', current_database()) \gexec
`); err != nil {
			t.Fatal(err)
		}
	}
	if err := postgres.EnsureAccess(ctx, primary, primary.port, "films"); err != nil {
		t.Fatal(err)
	}
	if r := postgres.Verify(ctx, c.input()); !r.OK {
		t.Errorf("not ok: %v", failed(r))
	}
	admin, err := postgres.Connect(ctx, primary.host, primary.port, "postgres", c.secrets.Get(appliance.SecretControl))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(ctx) }()
	if ok, err := postgres.HasAccess(ctx, admin, "films"); !ok || err != nil {
		t.Errorf("HasAccess: %v %v", ok, err)
	}
	app, err := postgres.ConnectAs(ctx, "app", primary.host, primary.port, "films", c.secrets.Get(appliance.SecretApp))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = app.Close(ctx) }()
	rows, err := app.Replication(ctx)
	if err != nil || len(rows) != 1 || rows[0].State != "streaming" {
		t.Errorf("pg_stat_replication as app: %+v %v", rows, err)
	}
}
