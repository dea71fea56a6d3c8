package drill

import (
	"slices"
	"strconv"
	"time"
)

// Millis is a duration that is written as milliseconds.
type Millis time.Duration

// MarshalJSON writes the whole milliseconds.
func (m Millis) MarshalJSON() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalJSON reads what [Millis.MarshalJSON] writes.
func (m *Millis) UnmarshalJSON(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 64)
	*m = Millis(time.Duration(n) * time.Millisecond)
	return err
}

// String returns the whole milliseconds.
func (m Millis) String() string { return strconv.FormatInt(time.Duration(m).Milliseconds(), 10) }

// Round is what came of one round.
type Round struct {
	Number int `json:"number"`
	// Faults are those that struck, with the members.
	Faults []string `json:"faults"`
	// Primary was the primary before, NewPrimary is the one after.
	Primary    string `json:"primary"`
	NewPrimary string `json:"new_primary"`
	// Gap is the longest time without an acknowledged row from the first fault on, and
	// Whole the time until all members served and streamed again.
	Gap   Millis `json:"gap_ms"`
	Whole Millis `json:"whole_ms"`
	// Endpoint is the time from the end of the process behind the endpoints until a session
	// wrote through them again, where that was the round's only fault.
	Endpoint Millis `json:"endpoint_ms,omitempty"`
	// Phases are those of the round's changes of primary, by name. Detecting is the time
	// from the first fault to the beginning of a failover.
	Phases map[string]Millis `json:"phases_ms,omitempty"`
	// Acknowledged, Lost and Unknown count rows, each a commit. A lost one was
	// acknowledged and is missing; an unknown one was neither acknowledged nor refused.
	Acknowledged int `json:"acknowledged"`
	Lost         int `json:"lost"`
	Unknown      int `json:"unknown"`
	// SecondWriters counts where two members acknowledged rows at the same time.
	SecondWriters int `json:"second_writers"`
	// Reads are those through the endpoint for reads, nil where writers go to the members.
	Reads *Reads `json:"ro,omitempty"`
	// Struck counts the members that were struck, Back those of them that serve again
	// without a person.
	Struck int `json:"struck"`
	Back   int `json:"back"`
	// Operations are those that began in the round, with their reasons.
	Operations []string `json:"operations,omitempty"`
	// Findings are the rules that were broken.
	Findings []Finding `json:"findings,omitempty"`
}

// Span is the median and the worst of the rounds.
type Span struct {
	Median Millis `json:"median"`
	Worst  Millis `json:"worst"`
}

// Report is what came of a drill.
type Report struct {
	Cluster string `json:"cluster"`
	Fault   Fault  `json:"fault"`
	// Through is what the writers went through: [ThroughEndpoint] or [ThroughMembers].
	Through string `json:"through"`
	Seed    uint64 `json:"seed"`
	// OK is set if no rule was broken.
	OK            bool            `json:"ok"`
	Gap           Span            `json:"gap_ms"`
	Whole         Span            `json:"whole_ms"`
	Endpoint      *Span           `json:"endpoint_ms,omitempty"`
	Phases        map[string]Span `json:"phases_ms,omitempty"`
	Acknowledged  int             `json:"acknowledged"`
	Lost          int             `json:"lost"`
	Unknown       int             `json:"unknown"`
	SecondWriters int             `json:"second_writers"`
	Reads         *Reads          `json:"ro,omitempty"`
	Struck        int             `json:"struck"`
	Back          int             `json:"back"`
	Rounds        []Round         `json:"rounds"`
}

// sum returns the report with the sums of its rounds.
func (r Report) sum() Report {
	r.OK = true
	var gaps, wholes, again []Millis
	phases := map[string][]Millis{}
	for _, x := range r.Rounds {
		gaps, wholes = append(gaps, x.Gap), append(wholes, x.Whole)
		if x.Endpoint > 0 {
			again = append(again, x.Endpoint)
		}
		if x.Reads != nil && r.Reads == nil {
			r.Reads = &Reads{}
		}
		if x.Reads != nil {
			*r.Reads = r.Reads.plus(*x.Reads)
		}
		for name, took := range x.Phases {
			phases[name] = append(phases[name], took)
		}
		r.Acknowledged, r.Lost, r.Unknown = r.Acknowledged+x.Acknowledged, r.Lost+x.Lost, r.Unknown+x.Unknown
		r.SecondWriters, r.Struck, r.Back = r.SecondWriters+x.SecondWriters, r.Struck+x.Struck, r.Back+x.Back
		r.OK = r.OK && len(x.Findings) == 0 && x.Lost == 0 && x.SecondWriters == 0
	}
	r.Gap, r.Whole = spanOf(gaps), spanOf(wholes)
	if len(again) > 0 {
		span := spanOf(again)
		r.Endpoint = &span
	}
	for name, all := range phases {
		if r.Phases == nil {
			r.Phases = map[string]Span{}
		}
		r.Phases[name] = spanOf(all)
	}
	return r
}

func spanOf(all []Millis) Span {
	if len(all) == 0 {
		return Span{}
	}
	slices.Sort(all)
	return Span{all[len(all)/2], all[len(all)-1]}
}
