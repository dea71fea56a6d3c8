package appliance

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Quorum tells whether the spec wants commits acknowledged only when standbys have
// flushed them.
func (s Spec) Quorum() bool { return s.Durability == DurabilityQuorum }

// QuorumStandbys is the number of standbys from which on a new cluster is quorum if the
// spec doesn't say: with a single one, each stop of it would block all commits.
const QuorumStandbys = 2

// defaultDurability is quorum for a cluster that can keep it while one standby is away.
// Parameters that break the promise are a wish for async.
func (s Spec) defaultDurability() Durability {
	if s.StandbyCount() < QuorumStandbys {
		return DurabilityAsync
	}
	for name, value := range s.Parameters {
		if breaksQuorum(name, value) != "" {
			return DurabilityAsync
		}
	}
	return DurabilityQuorum
}

// CheckDurability refuses a spec that can't keep its durability. The error is
// [Spec.Validate]'s.
func (s Spec) CheckDurability() error {
	v := &fieldErrors{}
	s.validateDurability(v)
	return v.problem("the cluster's durability can't be kept")
}

func (s Spec) validateDurability(v *fieldErrors) {
	v.oneOf("durability", string(s.Durability), "", string(DurabilityAsync), string(DurabilityQuorum))
	if !s.Quorum() {
		return
	}
	v.check("durability", s.StandbyCount() > 0, "can't be quorum without standbys: add some with --standbys, or choose --durability async")
	for _, name := range slices.Sorted(maps.Keys(s.Parameters)) {
		v.add("parameters."+name, breaksQuorum(name, s.Parameters[name]))
	}
}

// breaksQuorum says why a parameter breaks the promise of quorum durability.
func breaksQuorum(name, value string) string {
	switch value = strings.ToLower(strings.TrimSpace(value)); name {
	case "synchronous_commit":
		if value != "remote_apply" && !isOn(value) {
			return "has to be on or remote_apply under durability quorum: leave it out, or choose durability async; a session may still set it for its own transactions"
		}
	case "fsync", "full_page_writes":
		if !isOn(value) {
			return "has to be on under durability quorum: leave it out, or choose durability async"
		}
	case "recovery_min_apply_delay":
		if !regexp.MustCompile(`^0+(\.0*)?\s*(us|ms|s|min|h|d)?$`).MatchString(value) {
			return "can't delay the replay under durability quorum, since a delayed standby can't take over in time: leave it out, or choose durability async"
		}
	}
	return ""
}

// isOn tells whether PostgreSQL reads the value as on. PostgreSQL takes each
// beginning of true and yes.
func isOn(value string) bool {
	return value == "on" || value == "1" || value != "" && (strings.HasPrefix("true", value) || strings.HasPrefix("yes", value))
}
