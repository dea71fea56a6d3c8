package cli

import (
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"pgapp/appliance"
)

// oddPath holds what URLs, shells and libpq read as more than itself.
const oddPath = `/srv/my home/100% a+b,c'd"e$f\g;h&i=j?k#l é/pgpass`

func twoHosts(role string) appliance.Connection {
	return appliance.Connection{
		Role: role, Database: "shop", User: "app", PassFile: oddPath,
		Hosts: []appliance.HostPort{{Member: "node0", Host: "10.0.0.1", Port: 5432}, {Member: "node1", Host: "10.0.0.2", Port: 5433}},
	}
}

// TestURLKeepsOddPaths wants the password file's name back from each form.
func TestURLKeepsOddPaths(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{driverLibpq, driverLibpq16, driverPgx} {
		text, err := connectionString(twoHosts("ro"), driver)
		if err != nil || strings.ContainsAny(text, "+ '\"$\\") {
			t.Fatalf("%s: %v, %s", driver, err, text)
		}
		_, query, _ := strings.Cut(text, "?")
		values, err := url.ParseQuery(query)
		if err != nil || values.Get("passfile") != oddPath {
			t.Errorf("%s: passfile %q, %v", driver, values.Get("passfile"), err)
		}
	}
	text, err := connectionString(twoHosts("ro"), driverEnv)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", "PGSERVICE=old PGPASSWORD=old\nexport PGSERVICE PGPASSWORD\n"+
		text+"\n"+`printf '%s|%s|%s' "$PGPASSFILE" "$PGSERVICE" "$PGPASSWORD"`).Output()
	if err != nil || string(out) != oddPath+"||" {
		t.Errorf("a shell gets %q, %v", out, err)
	}
}

// TestURLForDrivers wants each driver's string without what the driver refuses.
func TestURLForDrivers(t *testing.T) {
	t.Parallel()
	one := twoHosts("any")
	one.Hosts = one.Hosts[1:]
	one.Password = "p+w %"
	// An endpoint may hold a connection for ten seconds; with other hosts to try, a client
	// doesn't wait as long.
	both := twoHosts("rw")
	both.Password = "p"
	both.Hosts[0] = appliance.HostPort{Host: "127.0.0.1", Port: 5000, Endpoint: true, WaitSeconds: 10}
	endpoint := both
	endpoint.Hosts = both.Hosts[:1]
	for _, c := range []struct {
		conn   appliance.Connection
		driver string
		want   string
	}{
		{one, driverLibpq, "postgresql://app:p%2Bw%20%25@10.0.0.2:5433/shop?connect_timeout=3"},
		{one, driverJDBC, "jdbc:postgresql://10.0.0.2:5433/shop?user=app&connectTimeout=3&password=p%2Bw%20%25"},
		{twoHosts("ro"), driverJDBC, "jdbc:postgresql://10.0.0.1:5432,10.0.0.2:5433/shop?user=app&connectTimeout=3&targetServerType=preferSecondary&loadBalanceHosts=true"},
		{twoHosts("rw"), driverJDBC, "jdbc:postgresql://10.0.0.1:5432,10.0.0.2:5433/shop?user=app&connectTimeout=3&targetServerType=primary"},
		{both, driverLibpq, "postgresql://app:p@127.0.0.1:5000,10.0.0.2:5433/shop?connect_timeout=3&target_session_attrs=read-write"},
		{endpoint, driverLibpq, "postgresql://app:p@127.0.0.1:5000/shop?connect_timeout=13&target_session_attrs=read-write"},
		{endpoint, driverJDBC, "jdbc:postgresql://127.0.0.1:5000/shop?user=app&connectTimeout=13&targetServerType=primary&password=p"},
	} {
		if got, err := connectionString(c.conn, c.driver); err != nil || got != c.want {
			t.Errorf("%s: %v\n%s, want\n%s", c.driver, err, got, c.want)
		}
	}
	for _, role := range []string{"rw", "ro", "any"} {
		for _, driver := range []string{driverLibpq, driverLibpq16, driverPgx} {
			got, _ := connectionString(twoHosts(role), driver)
			if strings.Contains(got, "load_balance_hosts") != (driver == driverLibpq16 && role != "rw") || strings.Contains(got, "=any") {
				t.Errorf("%s, role %s: %s", driver, role, got)
			}
		}
	}
}
