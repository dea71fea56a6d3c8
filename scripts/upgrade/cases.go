package main

// takeover is one operation of the old program that the new one ends.
type takeover struct {
	name string
	// before are commands of the old program that come first, each by words;
	// HOME and BACKUP stand for the home and its newest automatic backup.
	before [][]string
	// file, where it is set, is the cluster.yaml that command names.
	file string
	// command is interrupted once the part of its steps is done; without a
	// command the old daemon is killed at rest.
	command []string
	kind    string
	part    float64
	// then are commands of the new program that follow.
	then [][]string
	// phase is the cluster's at the end; "" where the cluster is gone.
	phase string
	// kept are the members whose servers may not have been restarted.
	kept []string
	// standbys is how many there are in the end.
	standbys int
}

// up is how each cluster is made.
func up() []string { return []string{"up", "--provider", "local", "-q"} }

func cases() []takeover {
	all := []string{"node0", "node1", "node2", "node3"}
	others := []string{"node0", "node1", "node3"}
	few := []string{"node0", "node1", "node2"}
	const reload, restart = "parameters: {work_mem: 16MB}\n", "parameters: {max_connections: \"150\"}\n"
	stopAll, stopOne := [][]string{{"stop", "-q"}}, [][]string{{"stop", "node2", "-q"}}
	one := []takeover{
		{name: "up", command: up(), kind: "up", phase: "ready", standbys: 3},
		{name: "up-reload", file: reload, command: []string{"up", "-q", "-f"}, kind: "up", phase: "ready", kept: all, standbys: 3},
		{name: "up-restart", file: restart, command: []string{"up", "-q", "-f"}, kind: "up", phase: "ready", standbys: 3},
		{name: "up-again", before: stopAll, command: up(), kind: "up", phase: "ready", standbys: 3},
		{name: "scale-up", command: []string{"scale", "--standbys", "5", "-q"}, kind: "scale", phase: "ready", kept: all, standbys: 5},
		{name: "scale-down", command: []string{"scale", "--standbys", "2", "-q"}, kind: "scale", phase: "ready", kept: few, standbys: 2},
		{name: "stop", command: []string{"stop", "-q"}, kind: "stop", phase: "stopped", standbys: 3},
		{name: "stop-member", command: []string{"stop", "node2", "-q"}, kind: "stop", phase: "degraded", kept: others, standbys: 3},
		{name: "start", before: stopAll, command: []string{"start", "-q"}, kind: "start", phase: "ready", standbys: 3},
		{name: "start-member", before: stopOne, command: []string{"start", "node2", "-q"}, kind: "start", phase: "ready", kept: others, standbys: 3},
		{name: "restart", command: []string{"restart", "-q"}, kind: "restart", phase: "ready", standbys: 3},
		{name: "restart-member", command: []string{"restart", "node2", "-q"}, kind: "restart", phase: "ready", kept: others, standbys: 3},
		{name: "reinit", command: []string{"reinit", "node2", "-q"}, kind: "reinit", phase: "ready", kept: others, standbys: 3},
		{name: "destroy", command: []string{"down", "--volumes", "--yes", "-q"}, kind: "destroy"},
	}
	list := []takeover{
		{name: "running", phase: "ready", kept: all, standbys: 3},
		{name: "member-stopped", before: stopOne, phase: "degraded", kept: others, standbys: 3},
		{name: "all-stopped", before: stopAll, phase: "stopped", standbys: 3},
		{
			name: "backup", before: [][]string{{"state", "backup", "--plaintext", "HOME/state.tar"}},
			then:  [][]string{{"state", "restore", "HOME/state.tar", "--yes"}, {"adopt"}},
			phase: "ready", kept: all, standbys: 3,
		},
		{
			name: "backup-automatic", then: [][]string{{"state", "restore", "BACKUP", "--yes"}, {"adopt"}},
			phase: "ready", kept: all, standbys: 3,
		},
	}
	for _, c := range one {
		begun, half := c, c
		half.name, half.part = c.name+"-half", 0.5
		list = append(list, begun, half)
	}
	return list
}
