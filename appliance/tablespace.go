package appliance

// TablespaceProblem says that a cluster whose members share a machine can't
// have standbys beside tablespaces: all members would write to the same
// directories. Found names the tablespaces.
func TablespaceProblem(what, found string) *Problem {
	return NewProblem(ErrTablespace, "%s would write to the primary's own tablespace (%s), since all members of this cluster share the machine's file system", what, found).
		WithHint("move what is in it: ALTER TABLE … SET TABLESPACE pg_default, then DROP TABLESPACE and pgapp reinit the standbys; a cluster that needs tablespaces needs machines of its own: --provider libvirt")
}
