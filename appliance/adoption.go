package appliance

// Adoption is the result of taking over a cluster.
type Adoption struct {
	Cluster string `json:"cluster" yaml:"cluster"`
	// Primary is the new primary in the record, Was the previous one.
	Primary  string `json:"primary" yaml:"primary"`
	Was      string `json:"was" yaml:"was"`
	Epoch    uint64 `json:"epoch" yaml:"epoch"`
	Timeline uint32 `json:"timeline" yaml:"timeline"`
	// Notes are the differences from the record, one line each.
	Notes []string `json:"notes" yaml:"notes"`
}

// AdoptDecision is what an adoption records. It is made from observations of all
// members before the operation begins, and kept when the operation is resumed.
type AdoptDecision struct {
	// Found is the adoption's result.
	Found Adoption `json:"found"`
	// Running are the members whose servers answered.
	Running []string `json:"running"`
	// Revision, FromEpoch and FromTimeline are the record's, with which the
	// observations were compared. FromEpoch is 0 in the decisions of older programs.
	Revision     uint64 `json:"revision"`
	FromEpoch    uint64 `json:"from_epoch,omitempty"`
	FromTimeline uint32 `json:"from_timeline,omitempty"`
	// Ancestors are those of the primary's timeline.
	Ancestors []Switch `json:"ancestors,omitempty"`
	// Stray are the members whose WAL is not known to be the beginning of the
	// primary's.
	Stray []string `json:"stray,omitempty"`
}
