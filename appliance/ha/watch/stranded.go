package watch

import (
	"slices"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/postgres"
)

// stranded corrects the sightings of standbys that wait for WAL which the primary has not
// written (see [postgres.Standing.Stranded]). Such a standby is connected, and PostgreSQL
// says that it has received what it only asks for. In truth nothing comes to it, and it is
// not ahead of the primary.
func stranded(c appliance.Cluster, all []ha.Sighting, ask func(appliance.Member) (postgres.Standing, error)) {
	i := slices.IndexFunc(all, func(o ha.Sighting) bool { return o.Member == c.Primary })
	if i < 0 || !all[i].Standing.Answered || !all[i].Standing.Primary || len(c.Ancestors) == 0 {
		return
	}
	p, begin := all[i], c.Ancestors[len(c.Ancestors)-1].At
	for i := range all {
		st := &all[i].Standing
		m, ok := c.Member(all[i].Member)
		switch {
		case !ok, !st.Answered, st.Primary, st.Replayed != begin, st.Received <= p.Standing.Received, slices.Contains(p.Streams, m.Name):
			continue
		}
		s, err := ask(m)
		if _, is := s.Stranded(postgres.Standing{Received: p.Standing.Received}, begin); err == nil && is {
			st.Received, st.Detached = st.Replayed, true
		}
	}
}
