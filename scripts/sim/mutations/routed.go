package mutations

// Routed lists the mutations of where the endpoints lead, each with the first seed that
// finds it.
func Routed() []Mutation {
	return []Mutation{
		{"rw leads to the old primary until the new one is on record", "route.go", "if c.Change.Phase != appliance.ChangeStopping {", "if false {", 1},
		{"rw is open while the primary stops", "route.go", "return &primary, true // its sessions end with its stop", "return &primary, false", 1},
		{"an election is no change", "route.go", "&& c.Change.Phase != appliance.ChangeLooking", "&& c.Change.Phase != appliance.ChangeLooking && c.Change.Phase != appliance.ChangeElecting", 1},
		{"a process that doesn't take a state is left", "settle.go", "kerr := r.kill(ctx)", "var kerr error", 5},
		{"only a process that is silent is ended", "settle.go", "!cut && !Changing(c) && (!removing || !silent)", "!silent || !cut && !Changing(c) && !removing", 5},
		{"what a record says is open", "memory.go", "slices.Contains(s.RW.To, c.Primary)", "(slices.Contains(s.RW.To, c.Primary) || true)", 2},
		{"rw opens by the record alone", "route.go", "!f.Verified || c.WantStopped", "c.WantStopped", 2},
	}
}
