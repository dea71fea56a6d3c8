package mutations

// All lists the mutations, each with the first seed that finds it.
func All() []Mutation {
	gone := "f.Old.Gone }, next: appliance.ChangeElecting"
	return []Mutation{
		{"no proof that the old primary has ended", "change.go", gone, "f.Old.Gone || true }, next: appliance.ChangeElecting", 4536},
		{"no quorum is asked for", "promise.go", "return r+p.K > len(p.Set)", "return r > 0", 34},
		{"a quorum one too small", "promise.go", "return r+p.K > len(p.Set)", "return r+p.K >= len(p.Set)", 34},
		{"the lowest position wins", "elect.go", "best := slices.MaxFunc(all", "best := slices.MinFunc(all", 6},
		{"positions that move count", "elect.go", "return s.Detached && s.Settled", "return true", 6654},
		{"a candidate may lack commits of another", "elect.go", "return a.Line.Timeline < b.Line.Timeline && e.slack == 0 || a.Position() < b.Position() && b.Position()-a.Position() > e.slack", "return false", 142},
		{"a switchover doesn't wait for the WAL's end", "change.go", "s.Replayed < f.Old.Ended || ", "", 1},
		{"the promise is strengthened early", "promise.go", "case inForce.Equal(want) && (flushed || Implies(stored, want)):", "case inForce.Equal(want):", 1967},
		{"a candidate is given up though it was promoted", "change.go", "return f.Candidate.Gone && f.Candidate.Writes }", "return false }", 273},
		{"the number of a repeated timeline ends nothing", "change.go", "len(f.Candidate.Line.Ancestors) > 0", "f.Candidate.Line.Timeline != f.Known.Line.Timeline", 233},
		{"a foreign timeline is trusted", "rejoin.go", "if a.Timeline > 1 && epoch < beganIn(promotions, a.Timeline) {", "if false {", 475},
		{"members that have to be brought back are elected", "elect.go", "case s.Return != \"\":", "case false:", 11772},
		{"a candidate that is given up is not killed", "change.go", "when: func(_ appliance.PrimaryChange, f Facts) bool { return f.Candidate.Gone }, next", "when: always, next", 357},
		{"the epoch stands still", "change.go", "s.Change.Epoch = f.Known.Epoch + 1", "s.Change.Epoch = f.Known.Epoch", 1},
		{"an asynchronous candidate may be far behind", "elect.go", "behind > e.lag &&", "false && behind > e.lag &&", 3196},
	}
}
