package postgres

import (
	"testing"

	"pgapp/appliance"
)

func TestPromiseIsReadAsItIsWritten(t *testing.T) {
	t.Parallel()
	for _, p := range []appliance.Promise{
		{}, {Set: []string{"node1"}, K: 1}, {Set: []string{"a-b", "node10", "node2"}, K: 2},
	} {
		if got := parsePromise(p.Setting()); !got.Equal(p) {
			t.Errorf("%q is read as %+v", p.Setting(), got)
		}
	}
	for _, foreign := range []string{
		"*", "node1", "FIRST 1 (\"node1\")", "ANY 1 (node1)", "ANY 1 (*)", "ANY 2 (\"node1\")", "ANY 0 (\"node1\")", "ANY -1 (\"node1\")", "ANY 01 (\"node1\")",
		"ANY 1 (\"node1\", \"node1\")", "ANY 1 (\"*\")", "ANY 1 (\"node2\", \"node1\")", "ANY 1 ()",
	} {
		if got := parsePromise(foreign); !got.None() {
			t.Errorf("%q is read as %+v", foreign, got)
		}
	}
}
