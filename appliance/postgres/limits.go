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

// Limits are the parameters of which a standby needs at least the primary's
// values (documentation section 26.4.3): with less than in pg_control a standby
// doesn't start, and it stops replaying when the primary raises them. The order
// is that of limitNames; 0 is unknown or none.
type Limits [4]int

// limitNames are the parameters. max_wal_senders is another, but pgapp sets the
// same value on every member.
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

// set takes a line of pg_controldata, and tells whether the line is a limit.
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

// Raise returns the parameters, raised to at least these limits. It doesn't
// change its argument.
func (l Limits) Raise(params map[string]string) map[string]string {
	out := maps.Clone(params)
	for i, name := range limitNames() {
		have := limitDefaults()[i]
		if v, ok := params[name]; ok {
			n, err := strconv.Atoi(strings.TrimSpace(v))
			if err != nil {
				continue // PostgreSQL refuses the value itself
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

// Limits returns the running server's limits.
func (c *Control) Limits(ctx context.Context) (l Limits, err error) {
	err = c.row(ctx, limitsSQL, nil, &l[0], &l[1], &l[2], &l[3])
	return l, err
}

// limitsPoll is the interval at which pg_control is read, each time by a program.
const limitsPoll = 100 * time.Millisecond

// WaitLimits waits until the standby has replayed the primary's limits and so
// can lower its own. If ctx ends first, the error is a [appliance.Problem] with
// id replication-failed.
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

// RestartNeeded returns the parameters that change only by a restart. The names
// must be valid.
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

// checkScript has PostgreSQL ($1) check the configuration file $3 for the data
// directory $2, and removes the file.
const checkScript = clearConf + `"$1" -D "$2" -C port -c config_file="$3" >/dev/null
code=$?
rm -f -- "$3"
exit $code`

// CheckConfig has PostgreSQL check the file that [Configure] would write, and
// changes nothing. A refusal is a [appliance.Problem] with id postgres-config.
func CheckConfig(ctx context.Context, sh Shell, c Config) error {
	l := sh.Layout()
	conf, err := renderConf(l, c)
	if err != nil {
		return fmt.Errorf("checking the parameters: %w", err)
	}
	fresh := freshConf(l)
	if err := sh.WriteFile(ctx, fresh, conf, 0o600); err != nil {
		return failure(appliance.ErrPostgresConfig, err, "checking the parameters")
	}
	_, err = script(ctx, sh, checkScript, program(l, "postgres"), l.DataDir, fresh)
	if err != nil {
		return confProblem(err)
	}
	return CheckFiles(ctx, sh, c.Parameters)
}
