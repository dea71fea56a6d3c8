package appliance

// TablespaceProblem says that a cluster on one machine can't have both standbys
// and tablespaces: all members would write to the same directories. Found names
// the tablespaces.
func TablespaceProblem(what, found string) *Problem {
	return NewProblem(ErrTablespace, "%s would write to the primary's own tablespace (%s), since all members of this cluster share the machine's file system", what, found).
		WithHint("move its tables with ALTER TABLE … SET TABLESPACE pg_default, run DROP TABLESPACE, then pgapp reinit for each standby; a cluster with tablespaces and standbys needs --provider libvirt")
}
