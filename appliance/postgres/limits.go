package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/wait"
)

// Limits are the parameters that a standby may not have smaller than its
// primary (documentation section 26.4.3): it does not start with less than its
// pg_control names, and stops replaying when the primary has more. They stand
// in the order of limitNames; 0 is unknown or none.
type Limits [4]int

// limitNames are the parameters. max_wal_senders is one too, but pgapp sets it
// the same everywhere.
func limitNames() [4]string {
	return [4]string{"max_connections", "max_worker_processes", "max_prepared_transactions", "max_locks_per_transaction"}
}

// limitDefaults are PostgreSQL's.
func limitDefaults() Limits { return Limits{100, 8, 0, 64} }

// LimitParameter tells whether the parameter is one of [Limits].
func LimitParameter(name string) bool {
	names := limitNames()
	return slices.Contains(names[:], strings.ToLower(name))
}

// set takes a line of pg_controldata, and tells whether it is one of a limit.
func (l *Limits) set(key, value string) bool {
	for i, k := range [4]string{"max_connections setting", "max_worker_processes setting", "max_prepared_xacts setting", "max_locks_per_xact setting"} {
		if key == k {
			n, err := strconv.Atoi(value)
			l[i] = n
			return err == nil
		}
	}
	return false
}

// Raise returns the parameters with what a standby with these limits needs at
// least. The parameters given are not changed.
func (l Limits) Raise(params map[string]string) map[string]string {
	out := maps.Clone(params)
	for i, name := range limitNames() {
		have := limitDefaults()[i]
		if v, ok := params[name]; ok {
			n, err := strconv.Atoi(strings.TrimSpace(v))
			if err != nil {
				continue // PostgreSQL says what it thinks of it
			}
			have = n
		}
		if l[i] <= have {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[name] = strconv.Itoa(l[i])
	}
	return out
}

const limitsSQL = `SELECT current_setting('max_connections')::int, current_setting('max_worker_processes')::int,
	current_setting('max_prepared_transactions')::int, current_setting('max_locks_per_transaction')::int`

// Limits are those that the running server has.
func (c *Control) Limits(ctx context.Context) (l Limits, err error) {
	err = c.row(ctx, limitsSQL, nil, &l[0], &l[1], &l[2], &l[3])
	return l, err
}

// limitsPoll is how often pg_control is looked at; each look is a program.
const limitsPoll = 100 * time.Millisecond

// WaitLimits waits until the standby has replayed the primary's limits, so
// that it may lower its own. Where ctx ends before, the error is a
// [appliance.Problem] with id replication-failed.
func WaitLimits(ctx context.Context, sh Shell, want Limits) error {
	err := wait.Until(ctx, limitsPoll, func(ctx context.Context) (bool, error) {
		d, err := InspectDataDir(ctx, sh)
		return d.Limits == want, err
	})
	if err != nil {
		return failure(appliance.ErrReplication, err, "waiting for the standby to replay the primary's parameters")
	}
	return nil
}

// RestartNeeded returns those of the parameters that change only by a restart.
// The names have to be valid.
func RestartNeeded(ctx context.Context, sh Shell, port int, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	quoted := make([]string, 0, len(names))
	for _, n := range names {
		quoted = append(quoted, "'"+strings.ReplaceAll(n, "'", "''")+"'")
	}
	out, err := SuperuserSQL(ctx, sh, port, "postgres",
		"SELECT name FROM pg_settings WHERE context = 'postmaster' AND name IN ("+strings.Join(quoted, ", ")+") ORDER BY name;\n")
	if err != nil {
		return nil, fmt.Errorf("asking which parameters need a restart: %w", err)
	}
	return strings.Fields(out), nil
}

// checkScript has PostgreSQL ($1) read the configuration $3 for the data
// directory $2, and removes it.
const checkScript = `"$1" -D "$2" -C port -c config_file="$3" >/dev/null
code=$?
rm -f -- "$3"
exit $code`

// CheckConfig has PostgreSQL read what [Configure] would write, and changes
// nothing. What it refuses is a [appliance.Problem] with id postgres-config.
func CheckConfig(ctx context.Context, sh Shell, c Config) error {
	l := sh.Layout()
	conf, err := renderConf(l, c)
	if err != nil {
		return fmt.Errorf("checking the parameters: %w", err)
	}
	fresh := l.DataDir + "/" + ConfFile + ".check"
	if err := sh.WriteFile(ctx, fresh, conf, 0o600); err != nil {
		return failure(appliance.ErrPostgresConfig, err, "checking the parameters")
	}
	_, err = script(ctx, sh, checkScript, program(l, "postgres"), l.DataDir, fresh)
	if err != nil {
		return confProblem(err)
	}
	return CheckFiles(ctx, sh, c.Parameters)
}
