package api

import "testing"

func TestHostMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		allowed, header string
		want            bool
	}{
		{"db.lan", "db.lan", true},
		{"db.lan", "DB.LAN:8432", true},
		{"db.lan:8432", "db.lan:8432", true},
		{"db.lan:8432", "db.lan:1", false},
		{"db.lan:8432", "db.lan", false},
		{"db.lan", "db.lan.", false},
		{"db.lan", "db.lan.evil.example", false},
		{"db.lan", "xdb.lan", false},
		{"db.lan", "", false},
		{"db.lan", ":8432", false},
		{"10.0.0.5", "10.0.0.5:8432", true},
		{"10.0.0.5", "10.0.0.50:8432", false},
		{"fd00::5", "[fd00::5]:8432", true},
		{"fd00::5", "[fd00::5]", true},
		{"fd00::5", "[fd00::6]", false},
		{"*.example.org", "db.example.org", true},
		{"*.example.org", "Db.Example.org:8432", true},
		{"*.example.org:8432", "db.example.org:8432", true},
		{"*.example.org:8432", "db.example.org:1", false},
		{"*.example.org", "example.org", false},
		{"*.example.org", ".example.org", false},
		{"*.example.org", "a.b.example.org", false},
		{"*.example.org", "evil.example", false},
		{"*.example.org", "db.example.org.evil.example", false},
		{"*.example.org", "", false},
		{"*.", "db.", false},
		{"", "", false},
	} {
		if got := hostMatches(c.allowed, c.header); got != c.want {
			t.Errorf("%q allows %q: %v, want %v", c.allowed, c.header, got, c.want)
		}
	}
}
