package plan

import (
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

func TestSilentRejectsOtherFailures(t *testing.T) {
	good := appliance.Check{Name: postgres.CheckStreaming, Member: "node1", OK: true}
	mute := appliance.Check{Name: postgres.CheckReachable, Member: "node1", Detail: "PostgreSQL at 127.0.0.1:5432 can't be reached: " + postgres.ErrNoAnswer.Error()}
	refused := appliance.Check{Name: postgres.CheckReachable, Member: "node2", Detail: "PostgreSQL at 127.0.0.1:5432 can't be reached: connection refused"}
	wrong := appliance.Check{Name: postgres.CheckRowCounts, Member: "node2", Detail: "other rows"}
	slow := appliance.Check{Name: postgres.CheckApplication, Member: "node1", Detail: "role app can't log in and read: PostgreSQL at 127.0.0.1:5432 can't be reached: " + postgres.ErrNoAnswer.Error()}
	unproven := appliance.Check{Name: postgres.CheckRowCounts, Member: "node2", OK: true, Skipped: true, Detail: "not proven: a lock"}
	for name, c := range map[string]struct {
		checks []appliance.Check
		want   bool
	}{
		"all is well":              {[]appliance.Check{good}, false},
		"one is silent":            {[]appliance.Check{good, mute}, true},
		"a login is silent":        {[]appliance.Check{good, slow}, true},
		"one is not proven":        {[]appliance.Check{good, unproven}, true},
		"not proven, and wrong":    {[]appliance.Check{wrong, unproven}, false},
		"another refuses":          {[]appliance.Check{mute, refused}, false},
		"another has other rows":   {[]appliance.Check{mute, wrong}, false},
		"the only finding is rows": {[]appliance.Check{good, wrong}, false},
	} {
		if got := silent(appliance.VerifyReport{Checks: c.checks}); got != c.want {
			t.Errorf("%s: silent() = %v, want %v", name, got, c.want)
		}
	}
}
