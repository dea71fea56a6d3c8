package program

import (
	"testing"

	"pgapp/appliance"
)

func TestCheckListen(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"127.0.0.1:8432": true, "127.0.0.1:0": true, "localhost:8432": true, "[::1]:8432": true, ":8432": true,
		"0.0.0.0:8432": true, "[::]:8432": true, "10.0.0.5:443": true, "[fd00::5]:8432": true, "[fe80::1%eth0]:8432": true,
		"db.example.org:8432": true, "db-1:8432": true,
		"": false, "8432": false, "10.0.0.5": false, "10.0.0.5:": false, "10.0.0.5:65536": false, "10.0.0.5:-1": false, "10.0.0.5:http": false,
		"fd00::5:8432": false, "010.0.0.1:8432": false, "10.0.0.256:8432": false, "10.0.0:8432": false, "224.0.0.1:8432": false,
		"[ff02::1]:8432": false, "a b:8432": false, "-a:8432": false, "a-:8432": false, "a_b:8432": false, "a..b:8432": false, "é:8432": false,
		"$(id):8432": false, "a\n:8432": false, "user@host:8432": false, "host/path:8432": false, "*:8432": false, "*.example.org:8432": false,
	} {
		if err := CheckListen(addr); (err == nil) != want || err != nil && !appliance.IsProblem(err, appliance.ErrUsage) {
			t.Errorf("%q: %v, want it accepted: %v", addr, err, want)
		}
	}
}
