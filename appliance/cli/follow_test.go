package cli

import (
	"testing"

	"pgapp/appliance"
)

func TestOutcomeNamesTheSupersedingOperation(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]appliance.Operation{
		"succeeded":                   {State: appliance.OpSucceeded},
		"superseded by operation op2": {State: appliance.OpSuperseded, SupersededBy: "op2"},
		"superseded":                  {State: appliance.OpSuperseded}, // by an older program
	} {
		if got := outcome(o); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
