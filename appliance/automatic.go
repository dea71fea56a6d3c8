package appliance

import "time"

// Automatic says whether pgapp keeps a cluster by itself: whether it replaces a dead
// primary and brings back members.
type Automatic string

// The values of [Spec.Automatic], and the states of a cluster that is kept.
const (
	AutomaticOn  Automatic = "on"
	AutomaticOff Automatic = "off"
	// AutomaticPaused: a user has paused it. Members are still looked at.
	AutomaticPaused Automatic = "paused"
	// AutomaticObserving: pgapp only observes.
	AutomaticObserving Automatic = "observing"
)

// OnLastStandby says what becomes of commits under durability quorum where the last
// standby goes.
type OnLastStandby string

// The values of [Spec.OnLastStandby]. Empty means block.
const (
	// OnLastStandbyBlock: commits wait until a standby streams.
	OnLastStandbyBlock OnLastStandby = "block"
	// OnLastStandbyDegrade: nothing is promised until a standby streams.
	OnLastStandbyDegrade OnLastStandby = "degrade"
)

// Degrades tells whether pgapp ends the promise by itself where the last standby goes.
func (s Spec) Degrades() bool { return s.Quorum() && s.OnLastStandby == OnLastStandbyDegrade }

// Pause is a user's wish that pgapp does nothing by itself.
type Pause struct {
	Since time.Time `json:"since" yaml:"since"`
	// Until is when the pause ends by itself; nil is never.
	Until *time.Time `json:"until,omitempty" yaml:"until,omitempty" doc:"when the pause ends by itself; left out if it doesn't"`
}

// Holds tells whether the pause, which may be nil, holds at that time.
func (p *Pause) Holds(now time.Time) bool {
	return p != nil && (p.Until == nil || now.Before(*p.Until))
}

// Automation is whether pgapp keeps a cluster by itself now.
type Automation struct {
	Automatic Automatic `json:"automatic" yaml:"automatic" enum:"on,off,paused,observing" doc:"on, off by the spec, paused by a user, or observing until pgapp adopt"`
	Pause     *Pause    `json:"pause,omitempty" yaml:"pause,omitempty" doc:"the pause, if automatic is paused"`
}

// Watching is what the watch over a cluster has found out last.
type Watching struct {
	State Automatic `json:"state" yaml:"state"`
	// Pause is the user's, if one holds.
	Pause *Pause `json:"pause,omitempty" yaml:"pause,omitempty"`
	// Doubts are what should be done about members, and why it is not done yet.
	Doubts []Doubt `json:"doubts,omitempty" yaml:"doubts,omitempty"`
}

// Doubt is something that should be done about a member.
type Doubt struct {
	Member string `json:"member" yaml:"member"`
	// Deed is replace, revive, return, settle or degrade.
	Deed     string `json:"deed" yaml:"deed"`
	Evidence string `json:"evidence" yaml:"evidence"`
	// Withheld says why it is not done, empty while it is.
	Withheld string `json:"withheld,omitempty" yaml:"withheld,omitempty"`
}
