package postgres

// durability judges whether commits wait for the standbys that the record promises.
func (v *verification) durability() verdict {
	in := v.in
	switch {
	case in.Quorum && in.Promise.None():
		return fail("durability quorum is wanted, and nothing is promised: pgapp up settles it")
	case !v.inForce.Equal(in.Sync):
		return fail("synchronous_standby_names in force says %s, but the record says %s", v.inForce, in.Sync)
	case !in.Sync.Equal(in.Promise):
		return fail("%s is promised while %s is in force: a change of the promise has not ended; pgapp up settles it", in.Promise, in.Sync)
	}
	n := 0
	for _, r := range v.replication {
		if in.Promise.Has(r.ApplicationName) && r.State == "streaming" && (r.SyncState == "quorum" || r.SyncState == "sync") {
			n++
		}
	}
	if n < in.Promise.K {
		return fail("commits wait: %s is promised, and %d of these stream", in.Promise, n)
	}
	return pass("each acknowledged commit was flushed by %s", in.Promise)
}
