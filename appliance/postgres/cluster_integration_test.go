//go:build integration

package postgres_test

import (
	"io"
	"strings"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

const filmsSQL = `SET client_min_messages = warning;
CREATE TABLE film (id integer PRIMARY KEY, title text NOT NULL);
COPY film FROM stdin;
1	Alien
2	Brazil
3	Metropolis
\.
CREATE TABLE payment (id integer, paid date) PARTITION BY RANGE (paid);
CREATE TABLE payment_2022 PARTITION OF payment FOR VALUES FROM ('2022-01-01') TO ('2023-01-01');
INSERT INTO payment SELECT n, '2022-03-01' FROM generate_series(1, 100) n;
`

func textFile(name, text string) postgres.LoadFile {
	return postgres.LoadFile{
		Name: name, Size: int64(len(text)), Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil },
	}
}

func (c *cluster) load(t *testing.T) {
	t.Helper()
	o := postgres.LoadOptions{Database: "films", Owner: true, Files: []postgres.LoadFile{textFile("films.sql", filmsSQL)}}
	must(t, postgres.LoadDatabase(t.Context(), c.members[0], c.members[0].port, o, nil))
}

func TestCreateCluster(t *testing.T) {
	t.Parallel()
	c := newPrimary(t)
	c.load(t)
	c.addStandby(t)
	c.addStandby(t)
	ctl := c.control(t, 0, "postgres")
	rows, err := ctl.Replication(t.Context())
	must(t, err)
	t.Log(rows)
	for i := range c.members {
		o, err := c.control(t, i, "postgres").Observe(t.Context())
		must(t, err)
		t.Logf("%+v", o)
		if o.InRecovery != (i > 0) || o.Timeline != 1 || o.SystemIdentifier == "" {
			t.Errorf("member %d: %+v", i, o)
		}
		if got := c.sql(t, i, "films", "SELECT count(*) FROM film"); got != "3" {
			t.Errorf("member %d has %s films", i, got)
		}
	}
	_ = appliance.RolePrimary
}
