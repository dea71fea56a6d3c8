package mutations

// All lists the mutations, each with the first seed that finds it.
func All() []Mutation {
	gone := "f.Old.Gone }, next: appliance.ChangeElecting"
	return []Mutation{
		{"no proof that the old primary has ended", "change.go", gone, "f.Old.Gone || true }, next: appliance.ChangeElecting", 9},
		{"no quorum is asked for", "promise.go", "return r+p.K > len(p.Set)", "return r > 0", 38},
		{"a quorum one too small", "promise.go", "return r+p.K > len(p.Set)", "return r+p.K >= len(p.Set)", 38},
		{"the lowest position wins", "elect.go", "best := slices.MaxFunc(all", "best := slices.MinFunc(all", 3},
		{"positions that move count", "elect.go", "return s.Detached && s.Settled", "return true", 6314},
		{"a candidate may lack commits of another", "elect.go", "return a.Line.Timeline < b.Line.Timeline && slack == 0 || a.Position() < b.Position() && b.Position()-a.Position() > slack", "return slack < 0", 9},
		{"a switchover doesn't wait for the WAL's end", "change.go", "s.Replayed < f.Old.Ended || ", "", 95},
		{"the promise is strengthened early", "promise.go", "case inForce.Equal(want) && (flushed || Implies(stored, want)):", "case inForce.Equal(want):", 1944},
		{"a candidate is given up though it was promoted", "change.go", "return f.Candidate.Gone && f.Candidate.Writes }", "return false }", 397},
		{"the number of a repeated timeline ends nothing", "change.go", "len(f.Candidate.Line.Ancestors) > 0", "f.Candidate.Line.Timeline != f.Known.Line.Timeline", 80},
		{"a foreign timeline is trusted", "rejoin.go", "if a.Timeline > 1 && epoch < beganIn(promotions, a.Timeline) {", "if false {", 196},
		{"members that have to be brought back are elected", "elect.go", "case s.Return != \"\":", "case false:", 5560},
		{"a candidate that is given up is not killed", "change.go", "when: func(_ appliance.PrimaryChange, f Facts) bool { return f.Candidate.Gone }, next", "when: always, next", 942},
		{"the epoch stands still", "change.go", "s.Change.Epoch = f.Known.Epoch + 1", "s.Change.Epoch = f.Known.Epoch", 1},
		{"an old primary that is started before the election runs on", "change.go", "return !f.Old.Gone }, next: appliance.ChangeFencing", "return false }, next: appliance.ChangeFencing", 38},
		{"an old primary that is started during the promotion runs on", "change.go", "return !f.Old.Gone && !f.Candidate.Writes }", "return false }", 11},
		{"a promotion beside a member that takes writes", "elect.go", "slices.ContainsFunc(standings, func(s Standing) bool { return s.Primary && s.Identifier == e.known.Identifier })", "false", 13},
		{"a member that takes writes moves, and does not count", "change.go", "(still[i].final() || still[i].Primary)", "still[i].final()", 25},
		{"the setting is weakened before the record", "promise.go", "case Implies(want, stored):", "case true:", 8},
		{"a member ahead of the switch follows", "rejoin.go", "s.Position() > k.Line.Ancestors[n].At", "false", 14},
		{"a fence that doesn't end can't be cancelled", "change.go", "{phase: appliance.ChangeFencing, when: func(_ appliance.PrimaryChange, f Facts) bool { return f.Cancelled }", "{phase: appliance.ChangeFencing, when: func(_ appliance.PrimaryChange, f Facts) bool { return false }", 9},
		{"an answer that is missing for a moment is not waited for", "change.go", "waits := f.Known.Promise.None() && !c.AllowDataLoss", "waits := false", 76},
		{"a member that gave no answer is pointed to the candidate", "change.go", "follows := r.others != Point || slices.Contains(s.Change.Followers, st.Member)", "follows := true", 3147},
		{"a member with other WAL is pointed to the candidate", "elect.go", " && s.Position() <= c.LSN && begins(s, all[i].Line)", "", 3449},
		{"an asynchronous candidate may be far behind", "elect.go", "behind > e.lag &&", "false && behind > e.lag &&", 155},
	}
}
