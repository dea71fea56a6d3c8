package bench

import (
	"strconv"

	"pgapp/appliance"
)

// IDFlag is the hidden flag by which a bench gets its id from who has started it.
const IDFlag = "bench-id"

// DefaultLoad is the load where nothing else is asked for.
func DefaultLoad() appliance.BenchLoad {
	return appliance.BenchLoad{
		ReadPercent: 95, Clients: 8, Zipf: 0.8, WarmupSeconds: 2, DurationSeconds: 10,
		Consistency: "eventual", Through: "endpoint", ReadFrom: "standbys", Seed: 1,
	}
}

// UsualArgs are the arguments of the command that drives the usual load, by the way that the
// cluster has.
func UsualArgs(cluster string) []string { return []string{"bench", "run", "--cluster", cluster} }

// RunArgs are the arguments of the command that drives the load on the cluster.
func RunArgs(cluster string, l appliance.BenchLoad) []string {
	number := func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
	return append(
		UsualArgs(cluster), "--reads", number(l.ReadPercent), "--clients", strconv.Itoa(l.Clients), "--rate", number(l.Rate),
		"--think", number(l.ThinkMillis)+"ms", "--zipf", number(l.Zipf), "--warmup", number(l.WarmupSeconds)+"s", "--duration", number(l.DurationSeconds)+"s",
		"--consistency", l.Consistency, "--through", l.Through, "--read-from", l.ReadFrom, "--seed", strconv.FormatUint(l.Seed, 10),
	)
}

// SuiteArgs are the arguments of the command that runs pgapp's own suite, or with file the
// one whose text is on its standard input.
func SuiteArgs(cluster string, quick, file bool) []string {
	args := []string{"bench", "suite", "--cluster", cluster}
	if quick {
		args = append(args, "--quick")
	}
	if file {
		args = append(args, "--file", "-")
	}
	return args
}
