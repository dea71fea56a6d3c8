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
		{"what a record says is open", "memory.go", "here && slices.Contains(s.RW.To, c.Primary)", "(here && slices.Contains(s.RW.To, c.Primary) || true)", 16},
		{"rw opens by the record alone", "route.go", "!f.Verified || c.WantStopped", "c.WantStopped", 15},
		{"rw of the kernel opens by the record alone", "route.go", "!f.Verified || c.WantStopped", "c.WantStopped", 15},
		{"new rules leave the connections of before", "lead.go", "err = t.End(wrong)", "wrong = nil", 2},
		{"who connects during a change of the rules is not looked for", "lead.go", "err, open = t.Lead(ctx, leads), true", "return t.Lead(ctx, leads)", 2},
		{"the kernel leads by connections that have ended", "lead.go", "case f.Ended:", "case f.Ended && false:", 2},
		{"a kernel that doesn't take the rules is left", "kernel.go", "block = l.kernel.Block(ctx)", "block = nil", 20},
		{"without a process the kernel may do as it likes", "kernel.go", "if kerr != nil && errors.Is(err, endpoint.ErrNotRunning) {", "if false && errors.Is(err, endpoint.ErrNotRunning) {", 476},
		{"a process that has ended is believed to run", "apply.go", "&& r.cfg.Process.Lives(r.said.PID)", "", 274},
	}
}
