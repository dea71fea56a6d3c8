package load

import (
	"math"

	"pgapp/appliance"
	"pgapp/appliance/rental"
)

// The values of a load's fields.
const (
	ThroughEndpoint = "endpoint"
	ThroughMembers  = "members"
	FromStandbys    = "standbys"
	FromPrimary     = "primary"
)

const (
	// mostClients is the most clients of a load: as many sessions has a pool at most.
	mostClients = 1000
	mostRate    = 100_000
	mostZipf    = 10
	mostSeconds = 24 * 60 * 60
)

// Check refuses a load that can't be driven. name says what a field of the load, by its
// name in JSON, is called where the user has written it.
func Check(l appliance.BenchLoad, name func(field string) string) error {
	for _, f := range []struct {
		field       string
		value       float64
		least, most float64
	}{
		{"read_percent", l.ReadPercent, 0, 100},
		{"clients", float64(l.Clients), 1, mostClients},
		{"rate", l.Rate, 0, mostRate},
		{"think_ms", l.ThinkMillis, 0, mostSeconds * 1000},
		{"zipf", l.Zipf, 0, mostZipf},
		{"warmup_seconds", l.WarmupSeconds, 0, mostSeconds},
		{"duration_seconds", l.DurationSeconds, 1, mostSeconds},
	} {
		if math.IsNaN(f.value) || f.value < f.least || f.value > f.most {
			return appliance.NewProblem(appliance.ErrUsage, "%s has to be from %v to %v, not %v", name(f.field), f.least, f.most, f.value)
		}
	}
	for _, f := range []struct{ field, value, one, other string }{
		{"consistency", l.Consistency, string(rental.Eventual), string(rental.Session)},
		{"through", l.Through, ThroughEndpoint, ThroughMembers},
		{"read_from", l.ReadFrom, FromStandbys, FromPrimary},
	} {
		if f.value != f.one && f.value != f.other {
			return appliance.NewProblem(appliance.ErrUsage, "%s has to be %s or %s, not %q", name(f.field), f.one, f.other, f.value)
		}
	}
	if l.Rate > 0 && l.ThinkMillis > 0 {
		return appliance.NewProblem(appliance.ErrUsage, "%s and %s exclude each other: requests of an open loop arrive by the rate", name("rate"), name("think_ms"))
	}
	return nil
}
