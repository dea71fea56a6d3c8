package routing

import (
	"maps"
	"slices"
	"time"

	"pgapp/appliance"
)

// memory is what is known of one cluster besides its record.
type memory struct {
	looks map[string]Look
	// at is when the looks began.
	at time.Time
	// verified is the primary that was verified, in which epoch, and when.
	verified   string
	epoch      uint64
	verifiedAt time.Time
	// cut is set from the end of a primary that is started again in its place until that
	// primary is verified.
	cut bool
	// serving are the standbys that take new connections. It is nil at first.
	serving map[string]bool
}

// verify notes that the recorded primary takes the application's writes now.
func (m *memory) verify(c appliance.Cluster) {
	m.verified, m.epoch, m.verifiedAt, m.cut = c.Primary, c.Epoch, time.Now(), false
}

// sound tells whether the recorded primary was verified.
func (m *memory) sound(c appliance.Cluster) bool {
	return m.verified != "" && m.verified == c.Primary && m.epoch == c.Epoch
}

// facts returns what the route depends on. A look that began before the primary was
// verified says nothing of it: it may have seen a standby, or a server that started.
func (m *memory) facts(c appliance.Cluster) Facts {
	looks := m.looks
	if time.Since(m.at) > lookAge {
		looks = nil
	}
	if m.sound(c) && !m.at.After(m.verifiedAt) {
		looks = maps.Clone(looks)
		delete(looks, c.Primary)
	}
	if unsound(c, looks) {
		m.verified = ""
	}
	return Facts{Looks: looks, Verified: m.sound(c), Cut: m.cut, Serving: maps.Clone(m.serving)}
}

// remember takes for true what the process holds. A primary that it holds with another
// address than the record's has to be verified.
func (m *memory) remember(c appliance.Cluster, held appliance.RouteStatus) {
	m.serving = map[string]bool{}
	s, ok := held.Cluster(c.Name)
	if !ok {
		return
	}
	for _, name := range s.RO.To {
		m.serving[name] = true
	}
	here := s.Primary != nil && *s.Primary == memberOf(c.PrimaryMember())
	if !m.sound(c) && here && slices.Contains(s.RW.To, c.Primary) {
		m.verified, m.epoch = c.Primary, c.Epoch
	}
}
