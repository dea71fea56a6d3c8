package appliance

// Adoption is what taking over a cluster found and changed.
type Adoption struct {
	Cluster string `json:"cluster" yaml:"cluster"`
	// Primary is the member that the record calls primary from now on, Was the
	// one that it called so before.
	Primary  string `json:"primary" yaml:"primary"`
	Was      string `json:"was" yaml:"was"`
	Epoch    uint64 `json:"epoch" yaml:"epoch"`
	Timeline uint32 `json:"timeline" yaml:"timeline"`
	// Notes say, a line each, what was found to be different from the record.
	Notes []string `json:"notes" yaml:"notes"`
}

// AdoptDecision is what an adoption records. It is decided from looks at all
// members before the operation begins, and not again where that is resumed.
type AdoptDecision struct {
	// Found is the adoption's result.
	Found Adoption `json:"found"`
	// Running are the members whose servers answered.
	Running []string `json:"running"`
	// Revision is that of the record which the looks were compared with.
	Revision uint64 `json:"revision"`
}
