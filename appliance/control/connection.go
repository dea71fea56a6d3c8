package control

import (
	"context"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"

	"pgapp/appliance"
	"pgapp/appliance/durable"
	"pgapp/appliance/postgres"
)

// The roles of a connection.
const (
	roleRW  = "rw"
	roleRO  = "ro"
	roleAny = "any"
	// roleAdmin is the superuser over a member's unix socket.
	roleAdmin = "admin"
)

// Connection says how to reach the cluster's database as its owner: rw lists
// the primary first, ro the standbys, any all members; an endpoint comes before them. It writes the password
// file that it names. Role admin is the superuser, who needs no password: its
// hosts say how each member's unix socket is reached, the primary's first.
func (c *Controller) Connection(ctx context.Context, cluster, role string, reveal bool) (appliance.Connection, error) {
	r, err := c.cfg.Store.Cluster(ctx, cluster)
	if err != nil {
		return appliance.Connection{}, clusterNotFound(err, cluster)
	}
	if role == roleAdmin {
		return c.adminConnection(r)
	}
	secrets, err := c.cfg.Store.Secrets(ctx, cluster)
	if err != nil {
		return appliance.Connection{}, err
	}
	members, err := hosts(r, role)
	if err != nil {
		return appliance.Connection{}, err
	}
	out := appliance.Connection{
		Cluster: r.Name, Role: role, Database: r.Spec.Database, User: postgres.RoleApp, Hosts: members,
		PassFile: c.clientFile(r.Name, "pgpass"),
	}
	if err := writePassFile(out.PassFile, r, secrets.Get(appliance.SecretApp)); err != nil {
		return out, err
	}
	if reveal {
		out.Password = secrets.Get(appliance.SecretApp).Reveal()
	}
	if psql, err := c.cfg.Psql(ctx, r); err == nil {
		out.Psql = psql
	}
	return out, nil
}

func (c *Controller) adminConnection(r appliance.Cluster) (appliance.Connection, error) {
	provider, err := c.provider(r.Spec.Provider)
	if err != nil {
		return appliance.Connection{}, err
	}
	out := appliance.Connection{Cluster: r.Name, Role: roleAdmin, Database: r.Spec.Database, User: postgres.RoleSuperuser}
	for _, m := range append([]appliance.Member{r.PrimaryMember()}, r.Standbys()...) {
		l := provider.Machine(r, m).Layout()
		out.Hosts = append(out.Hosts, appliance.HostPort{Member: m.Name, Host: m.Host, Port: m.Port, Local: &appliance.LocalAccess{
			SocketDir: l.SocketDir, OSUser: l.OSUser, Psql: path.Join(l.BinDir, "psql"), Machine: m.Placement == appliance.PlacementVM, Domain: m.Domain,
		}})
	}
	return out, nil
}

func hosts(r appliance.Cluster, role string) ([]appliance.HostPort, error) {
	var out []appliance.HostPort
	primary := r.PrimaryMember()
	add := func(m appliance.Member) {
		out = append(out, appliance.HostPort{Member: m.Name, Host: m.Host, Port: m.Port})
	}
	if e := r.Endpoints; e != nil && r.Spec.HasEndpoints() {
		if port, ok := map[string]int{roleRW: e.RW, roleRO: e.RO}[role]; ok {
			out = append(out, appliance.HostPort{Host: r.EndpointHost(), Port: port, Endpoint: true, WaitSeconds: waitSeconds(r.Spec.EndpointSpec)})
		}
	}
	switch role {
	case roleRW, roleAny:
		add(primary)
		for _, m := range r.Standbys() {
			add(m)
		}
	case roleRO:
		for _, m := range r.Standbys() {
			add(m)
		}
		add(primary) // prefer-standby falls back to it
	default:
		return nil, &appliance.Problem{
			ID: appliance.ErrInvalidSpec, Message: "the role is not valid",
			Fields: []appliance.FieldError{{Field: "role", Message: fmt.Sprintf("has to be one of rw, ro, any, admin, not %q", role)}},
		}
	}
	return out, nil
}

// waitSeconds is how long a connection may be held, rounded up: the kernel can't hold one.
func waitSeconds(e appliance.EndpointSpec) int {
	if e.Endpoint == appliance.EndpointKernel {
		return 0
	}
	return int(math.Ceil(e.RouteWait().Seconds()))
}

// writePassFile writes libpq's password file (documentation section 32.16),
// which has to be 0600 or is ignored.
func writePassFile(file string, r appliance.Cluster, password appliance.Secret) error {
	var text []byte
	var at []appliance.HostPort
	for _, m := range r.Members {
		at = append(at, appliance.HostPort{Host: m.Host, Port: m.Port})
	}
	if e := r.Endpoints; e != nil {
		at = append(at, appliance.HostPort{Host: r.EndpointHost(), Port: e.RW}, appliance.HostPort{Host: r.EndpointHost(), Port: e.RO})
	}
	for _, h := range at {
		line, err := postgres.PassFileLine(h.Host, h.Port, "*", postgres.RoleApp, password)
		if err != nil {
			return fmt.Errorf("writing the password file: %w", err)
		}
		text = append(text, line...)
	}
	if old, err := os.ReadFile(file); err == nil && string(old) == string(text) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("writing the password file: %w", err)
	}
	if err := durable.WriteFile(file, text); err != nil {
		return fmt.Errorf("writing the password file: %w", err)
	}
	return nil
}
