package postgres

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"path"
	"strings"

	"pgapp/appliance"
)

// hbaRule is one line of pg_hba.conf.
type hbaRule struct {
	kind     string // local or host
	database string
	keyword  bool // database is a keyword (all, replication)
	user     string
	address  string
	method   string
}

// renderHBA writes the whole pg_hba.conf. The first lines always let in the
// administrator and pgapp; a connection that no line allows is rejected.
func renderHBA(c Config) ([]byte, error) {
	rules := []hbaRule{
		{kind: "local", database: "all", keyword: true, user: RoleSuperuser, method: "peer map=" + identMap},
		{kind: "local", database: "all", keyword: true, user: RoleControl, method: "peer map=" + identMap},
	}
	if !c.Shut {
		rules = append(rules, appRules(hbaRule{kind: "local", database: c.Database})...)
	}
	for _, p := range c.Sources {
		if err := validSource(p); err != nil {
			return nil, configProblem(err)
		}
		from := p.String()
		rules = append(rules,
			hbaRule{kind: "host", database: "replication", keyword: true, user: RoleReplicator, address: from, method: "scram-sha-256"},
			hbaRule{kind: "host", database: "all", keyword: true, user: RoleControl, address: from, method: "scram-sha-256"},
			hbaRule{kind: "host", database: "postgres", user: RoleRewind, address: from, method: "scram-sha-256"},
		)
		if !c.Shut {
			rules = append(rules, appRules(hbaRule{kind: "host", database: c.Database, address: from})...)
		}
	}
	var b strings.Builder
	b.WriteString("# Written by pgapp, and written anew before every start: changes here are lost.\n" +
		"# TYPE\tDATABASE\tUSER\tADDRESS\tMETHOD\n")
	for _, r := range rules {
		line, err := r.line()
		if err != nil {
			return nil, configProblem(err)
		}
		b.WriteString(line)
	}
	b.WriteString("local\tall\tall\t\treject\nhost\tall\tall\tall\treject\n")
	return []byte(b.String()), nil
}

// appRules let the application's role in to its database, and to those that pgapp drill and
// pgapp bench make, so that neither changes a file of a member.
func appRules(r hbaRule) []hbaRule {
	r.user, r.method = RoleApp, "scram-sha-256"
	drill, bench := r, r
	drill.database, bench.database = appliance.DrillDatabase, appliance.BenchDatabase
	return []hbaRule{r, drill, bench}
}

func (r hbaRule) line() (string, error) {
	database := r.database
	if !r.keyword {
		var err error
		if database, err = hbaToken(r.database); err != nil {
			return "", fmt.Errorf("database: %w", err)
		}
	}
	user, err := hbaToken(r.user)
	if err != nil {
		return "", fmt.Errorf("user: %w", err)
	}
	return strings.Join([]string{r.kind, database, user, r.address, r.method}, "\t") + "\n", nil
}

// validSource refuses a network with bits set beyond its mask, and one that
// contains all addresses.
func validSource(p netip.Prefix) error {
	if !p.IsValid() || p.Masked() != p || p.Bits() == 0 || p.Addr().Zone() != "" {
		return fmt.Errorf("%q is not a network that clients may connect from", p.String())
	}
	return nil
}

// renderIdent maps the operating system's users to roles: the server's account
// to the administrator, the controller's to pgapp.
func renderIdent(l appliance.Layout) ([]byte, error) {
	type entry struct{ user, role string }
	entries := []entry{{l.OSUser, RoleSuperuser}, {l.OSUser, RoleControl}}
	if l.ControlUser != "" && l.ControlUser != l.OSUser {
		entries = append(entries, entry{l.ControlUser, RoleControl})
	}
	var b strings.Builder
	b.WriteString("# Written by pgapp, and written anew before every start: changes here are lost.\n# MAPNAME\tSYSTEM-USERNAME\tPG-USERNAME\n")
	for _, e := range entries {
		user, err := hbaToken(e.user)
		if err != nil {
			return nil, configProblem(fmt.Errorf("operating system user: %w", err))
		}
		fmt.Fprintf(&b, "%s\t%s\t\"%s\"\n", identMap, user, e.role)
	}
	return []byte(b.String()), nil
}

// renderPassFile writes libpq's password file for the replicator.
func renderPassFile(password appliance.Secret) ([]byte, error) {
	p, err := passfileField(password.Reveal())
	if err != nil || p == "" {
		// The error would quote the password.
		return nil, appliance.NewProblem(appliance.ErrPostgresConfig, "the replicator's password can't be written to a password file")
	}
	return []byte("*:*:*:" + RoleReplicator + ":" + p + "\n"), nil
}

// HasAccessRules tells whether the member's pg_hba.conf is the configuration's.
func HasAccessRules(ctx context.Context, sh Shell, c Config) (bool, error) {
	want, err := renderHBA(c)
	if err != nil {
		return false, err
	}
	have, err := sh.ReadFile(ctx, path.Join(sh.Layout().DataDir, "pg_hba.conf"))
	return bytes.Equal(have, want), err
}
