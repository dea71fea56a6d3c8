package mutations

import "slices"

// Watched lists the mutations of what is done without a person, each with the first seed
// that finds it.
func Watched() []Mutation {
	return slices.Concat(begun(), restrained(), healed())
}

// begun are mutations of what begins a failover.
func begun() []Mutation {
	return []Mutation{
		{"one signal is enough for a silence", "verdict.go", "x.lasted(d.now, d.pace.Silent, patient) && len(listeners) > 0", "x.lasted(d.now, d.pace.Silent, patient)", 1},
		{"a machine's word alone is a death", "decide.go", "appliance.VitalGone && deaf && o.Session != Answers && o.Session != Denies", "appliance.VitalGone", 1},
		{"one look is enough for a death", "decide.go", "certain = 2", "certain = 1", 2},
		{"an own stall is a signal", "decide.go", "if s.Stalled || d.allSilent() {", "if d.allSilent() {", 24},
		{"looks of before a stall count", "decide.go", "\t\treturn d.memory, nil\n", "\t\treturn m, nil\n", 36},
		{"all members silent are a signal", "decide.go", "if s.Stalled || d.allSilent() {", "if s.Stalled {", 3},
		{"a halt needs no silence", "decide.go", "case o.Sign.Vital == appliance.VitalHalted && deaf:", "case o.Sign.Vital == appliance.VitalHalted:", 17},
		{"a halt needs no time", "verdict.go", "x.lasted(d.now, d.pace.Silent, patient) {\n\t\t\t\treturn fmt.Sprintf(\"%s is halted", "x.lasted(d.now, 0, certain) {\n\t\t\t\treturn fmt.Sprintf(\"%s is halted", 1},
		{"a debugger's stop counts", "decide.go", "case o.Sign.Vital == appliance.VitalDebugged, o.Sign.Vital == appliance.VitalDisk:", "case o.Sign.Vital == appliance.VitalDisk:", 28},
		{"a disk that can't be written counts", "decide.go", "case o.Sign.Vital == appliance.VitalDebugged, o.Sign.Vital == appliance.VitalDisk:", "case o.Sign.Vital == appliance.VitalDebugged:", 4},
		{"a clean shutdown is failed over", "decide.go", "case over && o.Clean:", "case false:", 12},
		{"the pause and running operations hold no failover", "restrain.go", `case a.Deed == Replace && d.s.HeldReplace != "":`, "case false:", 15},
		{"the pause and running operations hold no other deed", "restrain.go", `case a.Deed != Replace && !a.Fence && d.s.Held != "":`, "case false:", 1},
		{"the pause and running operations hold no start in place", "restrain.go", `case a.Fence && d.s.HeldFence != "":`, "case false:", 15},
		{"three failovers in an hour are not enough", "restrain.go", "d.s.Failovers >= hourly", "false", 10},
		{"the next failover comes at once", "restrain.go", "d.s.Since < restPause", "false", 13},
		{"the primary is started in place without a fence", "decide.go", "Deed: Revive, Member: p.Member, Fence: true,", "Deed: Revive, Member: p.Member,", 2},
		{"the promise shrinks late", "others.go", "d.doubt(p.Member, unsettled); x.lasted(d.now, 0, certain)", "d.doubt(p.Member, unsettled); x.lasted(d.now, 6*d.pace.Hung, certain)", 1},
		{"a writer is ended though the primary doesn't serve", "others.go", "			if !serves {", "			if false {", 7},
		{"a primary is started beside a writer", "decide.go", "if alone, ok := d.writer(); ok {", "if alone, ok := d.writer(); ok && false {", 7},
		{"marked members are not brought back", "others.go", "case seen(marked):", "case false:", 1},
		{"no new connections anywhere count", "verdict.go", "x.lasted(d.now, d.pace.Hung, patient) && d.othersAnswer()", "x.lasted(d.now, d.pace.Hung, patient)", 3096},
		{"a silence counts from its first answer that doesn't come", "decide.go", "before.since = now - s.Took", "before.since = now", 2},
		{"a silence counts twice", "decide.go", "before.since = now - s.Took", "before.since = now - 2*s.Took", 171},
		{"a disk that stalls is no trouble", "decide.go", "if o.Write == Silent && o.Sign", "if false && o.Sign", 40},
		{"a disk that stalls needs no time", "verdict.go", "case stuck:\n\t\t\tif x.lasted(d.now, d.pace.Hung, patient) {", "case stuck:\n\t\t\tif x.lasted(d.now, 0, certain) {", 2},
		{"a disk that stalls needs no other disk", "decide.go", `if how == stuck && d.othersWrite() == "" {`, "if false {", 40},
		{"a primary whose disk stalls is started again", "decide.go", `if useless != "" {`, "if false {", 131},
	}
}

// restrained are mutations of what keeps acts from being done.
func restrained() []Mutation {
	return []Mutation{
		{"a pause is forgotten", "hold.go", "case c.Pause.Holds(now):", "case false:", 1},
		{"a pause with an end doesn't end", "hold.go", "case c.Pause.Holds(now):", "case c.Pause != nil:", 2},
		{"observing holds nothing", "hold.go", `case h.Observing != "":`, "case false:", 30},
		{"an operation that runs holds nothing", "hold.go", "case h.Running == nil:", "case true:", 1},
		{"a failover waits for a start of a standby", "hold.go", `return o.Params.Member != "" && o.Params.Member != c.Primary`, "return false", 109},
		{"a failover waits for a reinit", "hold.go", "case appliance.OpRejoin, appliance.OpReinit:\n\t\treturn true", "case appliance.OpRejoin, appliance.OpReinit:\n\t\treturn false", 164},
		{"a failover supersedes what stops the primary", "hold.go", "\t}\n\treturn false\n}", "\t}\n\treturn true\n}", 23},
		{"resume doesn't reset the count of failovers", "hold.go", "if c.Resumed != nil && !p.At.After(*c.Resumed) {", "if false {", 16},
		{"growing pauses are forgotten", "restrain.go", "time.Second<<min(earlier, 6)", "time.Second", 15},
		{"a pause begins with the attempt", "restrain.go", "tried.begun && d.s.Held != \"\"; tried.begun {", "false; tried.begun {", 8},
		{"a short pause follows a long attempt", "restrain.go", "rest = max(rest, min(d.now-tried.at, longestReturnPause))", "_ = longestReturnPause", 8},
		{"two acts begin at once", "restrain.go", `if begun != "" && acts[i].Withheld == "" {`, "if false {", 1},
		{"an act that could not begin counts as an attempt", "restrain.go", "min(tried.next, now+longestSettlePause), false", "tried.next, false", 28},
	}
}

// healed are mutations of what brings back standbys, and of the promise without them.
func healed() []Mutation {
	return []Mutation{
		{"a lost slot is waited for", "others.go", "case seen(lost):", "case false:", 6},
		{"a start that doesn't help is repeated", "others.go", "case tried > 0:", "case false:", 53},
		{"a standby that catches up receives nothing", "decide.go", "!slices.Contains(p.Streams, o.Member) && !slices.Contains(p.Connected, o.Member)", "!slices.Contains(p.Streams, o.Member)", 20},
		{"the promise ends against the user's wish", "decide.go", "len(streams) == 0 && d.s.Degrades &&", "len(streams) == 0 &&", 14},
		{"the promise ends at once", "others.go", "d.doubt(p.Member, alone); x.lasted(d.now, d.pace.Left, patient) {", "d.doubt(p.Member, alone); x.lasted(d.now, 0, certain) {", 10},
		{"the promise doesn't end", "others.go", "d.doubt(p.Member, alone); x.lasted(d.now, d.pace.Left, patient) {", "d.doubt(p.Member, alone); x.looks < 0 {", 10},
	}
}
