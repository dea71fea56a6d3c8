package plan

import "pgapp/appliance"

// hostStep is the step that checks this machine, for what would fail there in
// the words of another program.
func hostStep(c appliance.Cluster, steps []appliance.Step) []string {
	if !c.SharesMachine() {
		return nil
	}
	for _, s := range steps {
		if s.ID == "host" {
			return []string{s.ID}
		}
	}
	return nil
}
