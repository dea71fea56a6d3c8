package mutations

// Watched lists the mutations of what is done without a person, each with the first seed
// that finds it.
func Watched() []Mutation {
	return []Mutation{
		{"one signal is enough for a silence", "decide.go", "x.lasted(d.now, d.pace.Silent, patient) && len(listeners) > 0", "x.lasted(d.now, d.pace.Silent, patient)", 5},
		{"a machine's word alone is a death", "decide.go", "appliance.VitalGone && deaf && o.Session != Answers && o.Session != Denies", "appliance.VitalGone", 9},
		{"one look is enough for a death", "decide.go", "certain = 2", "certain = 1", 2},
		{"an own stall is a signal", "decide.go", "if s.Stalled || d.allSilent() {", "if d.allSilent() {", 14},
		{"looks of before a stall count", "decide.go", "\t\treturn d.memory, nil\n", "\t\treturn m, nil\n", 14},
		{"all members silent are a signal", "decide.go", "if s.Stalled || d.allSilent() {", "if s.Stalled {", 9},
		{"a halt needs no silence", "decide.go", "case o.Sign.Vital == appliance.VitalHalted && deaf:", "case o.Sign.Vital == appliance.VitalHalted:", 59},
		{"a halt needs no time", "decide.go", "x.lasted(d.now, d.pace.Silent, patient) {\n\t\t\t\treturn fmt.Sprintf(\"%s is halted", "x.lasted(d.now, 0, certain) {\n\t\t\t\treturn fmt.Sprintf(\"%s is halted", 2},
		{"a debugger's stop counts", "decide.go", "case o.Sign.Vital == appliance.VitalDebugged, o.Sign.Vital == appliance.VitalDisk:", "case o.Sign.Vital == appliance.VitalDisk:", 229},
		{"a disk that can't be written counts", "decide.go", "case o.Sign.Vital == appliance.VitalDebugged, o.Sign.Vital == appliance.VitalDisk:", "case o.Sign.Vital == appliance.VitalDebugged:", 30},
		{"a clean shutdown is failed over", "decide.go", "case over && o.Clean:", "case false:", 2},
		{"the pause and running operations hold no failover", "restrain.go", `case a.Deed == Replace && d.s.HeldReplace != "":`, "case false:", 15},
		{"the pause and running operations hold no other deed", "restrain.go", `case a.Deed != Replace && !a.Fence && d.s.Held != "":`, "case false:", 1},
		{"the pause and running operations hold no start in place", "restrain.go", `case a.Fence && d.s.HeldFence != "":`, "case false:", 15},
		{"three failovers in an hour are not enough", "restrain.go", "d.s.Failovers >= hourly", "false", 43},
		{"the next failover comes at once", "restrain.go", "d.s.Since < restPause", "false", 16},
		{"the primary is started in place without a fence", "decide.go", "Deed: Revive, Member: p.Member, Fence: true,", "Deed: Revive, Member: p.Member,", 66},
		{"the promise shrinks late", "others.go", "d.doubt(p.Member, unsettled); x.lasted(d.now, 0, certain)", "d.doubt(p.Member, unsettled); x.lasted(d.now, 6*d.pace.Hung, certain)", 1},
		{"a writer is ended though the primary doesn't serve", "others.go", "			if !serves {", "			if false {", 8},
		{"a primary is started beside a writer", "decide.go", "if alone, ok := d.writer(); ok {", "if alone, ok := d.writer(); ok && false {", 8},
		{"marked members are not brought back", "others.go", "case seen(marked):", "case false:", 1},
		{"no new connections anywhere count", "decide.go", "x.lasted(d.now, d.pace.Hung, patient) && d.othersAnswer()", "x.lasted(d.now, d.pace.Hung, patient)", 405},
	}
}
