package drill

import (
	"regexp"
	"strconv"
	"time"

	"pgapp/appliance"
)

// Phases are how long the phases of an operation's change of primary took, by name. The
// last one is follow: how long the others took to stream from the new primary.
func Phases(op appliance.Operation) map[string]time.Duration {
	out := map[string]time.Duration{}
	for _, step := range op.Steps {
		switch step.ID {
		case "change":
			for _, lap := range regexp.MustCompile(`(\w+) (\d+) ms`).FindAllStringSubmatch(step.Progress.Detail, -1) {
				n, _ := strconv.Atoi(lap[2])
				out[lap[1]] += time.Duration(n) * time.Millisecond
			}
		case "streaming":
			out["follow"] = time.Duration(step.Seconds * float64(time.Second))
		}
	}
	return out
}

// PhaseNames are the phases' names, in their order.
func PhaseNames() []string {
	return []string{"detecting", "looking", "stopping", "replaying", "fencing", "electing", "promoting", "returning", "follow"}
}
