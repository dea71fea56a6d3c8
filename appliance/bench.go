package appliance

import "time"

// BenchDatabase is the database of pgapp bench, which exists while a bench runs.
const BenchDatabase = "pgapp_bench"

// BenchKind is the kind of a bench.
type BenchKind string

// A run is one load; a suite is the experiments of a file.
const (
	BenchRun   BenchKind = "run"
	BenchSuite BenchKind = "suite"
)

// BenchState is the state of a bench.
type BenchState string

// The states. All but running are final, but an interrupted suite can be taken up again.
const (
	BenchRunning   BenchState = "running"
	BenchSucceeded BenchState = "succeeded"
	BenchFailed    BenchState = "failed"
	// BenchCancelled is a bench that a person has ended: what was measured is kept.
	BenchCancelled BenchState = "cancelled"
	// BenchInterrupted is a bench whose process ended before its time.
	BenchInterrupted BenchState = "interrupted"
)

// Bench is a measurement of a cluster under the load of a movie-rental site.
type Bench struct {
	// ID sorts by time.
	ID      string     `json:"id"`
	Cluster string     `json:"cluster"`
	Kind    BenchKind  `json:"kind"`
	State   BenchState `json:"state"`
	// Name is that of the suite, or run.
	Name string `json:"name"`
	// Command is the command line that repeats it.
	Command   string        `json:"command"`
	CreatedAt time.Time     `json:"created_at"`
	EndedAt   *time.Time    `json:"ended_at,omitempty"`
	Progress  BenchProgress `json:"progress"`
	// Setting is what was measured, and on what.
	Setting BenchSetting `json:"setting"`
	// Experiments are those of the suite, in their order; a run has one.
	Experiments []BenchExperiment `json:"experiments"`
	// Points are the measurements, in the order in which they were made.
	Points []BenchPoint `json:"points"`
	Error  *Problem     `json:"error,omitempty"`
	// Notes are what a reader of the figures has to know, as a late driver.
	Notes []string `json:"notes,omitempty"`
	// Before is the cluster before the suite's first change; nil for a run, which changes
	// nothing of it.
	Before *BenchBefore `json:"before,omitempty"`
}

// Whole is the record with empty lists where it has none, for clients that iterate.
func (b Bench) Whole() Bench {
	if b.Experiments == nil {
		b.Experiments = []BenchExperiment{}
	}
	if b.Points == nil {
		b.Points = []BenchPoint{}
	}
	if b.Setting.Members == nil {
		b.Setting.Members = []BenchMember{}
	}
	return b
}

// BenchBefore is what a suite puts back.
type BenchBefore struct {
	// UUID is the cluster's: one that was made anew has nothing to be put back.
	UUID       string     `json:"uuid"`
	Primary    string     `json:"primary"`
	Durability Durability `json:"durability"`
	// Members are those that ran, in the record's order.
	Members []string `json:"members"`
	// PutBack is nil until all is as it was.
	PutBack *BenchPutBack `json:"put_back,omitempty"`
}

// BenchPutBack says when and by whom the cluster was put back.
type BenchPutBack struct {
	At time.Time `json:"at"`
	By string    `json:"by"`
}

// Who puts a cluster back: the suite itself, the guardian of one that was killed, or a
// later bench command.
const (
	PutBackBySuite    = "suite"
	PutBackByGuardian = "guardian"
	PutBackByCommand  = "command"
)

// PutBackLeft tells whether the bench has left the cluster other than it was. One that
// runs will put it back.
func (b Bench) PutBackLeft() bool { return b.Before != nil && b.Before.PutBack == nil }

// BenchProgress says how far a bench is.
type BenchProgress struct {
	Done  int `json:"done"`
	Total int `json:"total"`
	// Doing is one line about what is done now.
	Doing string `json:"doing,omitempty"`
	// LeftSeconds is an estimate of the time that is left.
	LeftSeconds float64 `json:"left_seconds"`
}

// BenchSetting is what was measured, and on what.
type BenchSetting struct {
	Pgapp      string `json:"pgapp"`
	PostgreSQL string `json:"postgresql"`
	Kernel     string `json:"kernel"`
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	MemoryMiB  int    `json:"memory_mib"`
	Provider   string `json:"provider"`
	Durability string `json:"durability"`
	// Members are the cluster's when the bench began.
	Members []BenchMember `json:"members"`
	// Settings are PostgreSQL's that differ from its defaults, by name.
	Settings map[string]string `json:"settings,omitempty"`
	// Share is each member's share of the processors in cores, 0 where members share all.
	Share float64 `json:"share"`
	// Seed is what chance was drawn from.
	Seed uint64 `json:"seed"`
}

// BenchMember is a member as the record has it.
type BenchMember struct {
	Name    string `json:"name"`
	Role    string `json:"role"`
	Address string `json:"address"`
	Place   string `json:"place"`
	// Upstream is the member that it streams from.
	Upstream string `json:"upstream,omitempty"`
	Sync     string `json:"sync,omitempty"`
}

// BenchLoad is a load of the movie-rental site.
type BenchLoad struct {
	// ReadPercent is the share of requests that only read, 0 to 100.
	ReadPercent float64 `json:"read_percent"`
	// Clients is the number of clients of a closed loop, and the most that wait at once
	// in an open loop.
	Clients int `json:"clients"`
	// Rate is the number of requests a second that arrive in an open loop; 0 is a closed
	// loop.
	Rate float64 `json:"rate"`
	// ThinkMillis is a client's mean pause between two requests, in a closed loop.
	ThinkMillis float64 `json:"think_ms"`
	// Zipf is the exponent by which films are popular; 0 is all alike.
	Zipf            float64 `json:"zipf"`
	WarmupSeconds   float64 `json:"warmup_seconds"`
	DurationSeconds float64 `json:"duration_seconds"`
	// Consistency is eventual or session.
	Consistency string `json:"consistency"`
	// Through is endpoint or members.
	Through string `json:"through"`
	// ReadFrom is standbys or primary.
	ReadFrom string `json:"read_from"`
	// Seed is what chance is drawn from.
	Seed uint64 `json:"seed"`
}

// BenchEvent is what happens to the cluster in the middle of a point.
type BenchEvent string

// The events.
const (
	BenchSwitchover  BenchEvent = "switchover"
	BenchKillPrimary BenchEvent = "kill-primary"
)

// BenchExperiment is a question and the points that answer it.
type BenchExperiment struct {
	// Name is a word, as reads-by-standbys.
	Name string `json:"name"`
	// Title is the question.
	Title string `json:"title"`
	// Measure is what the points are compared by: throughput, latency, commit, lag,
	// outage or redirects.
	Measure string `json:"measure"`
	// Variants are what is compared, in the order in which a reader sees them. The first
	// is what the others are compared with.
	Variants []BenchVariant `json:"variants"`
	// Repeats is how often each variant is measured.
	Repeats int `json:"repeats"`
}

// BenchVariant is a state of the cluster and a load.
type BenchVariant struct {
	Name string    `json:"name"`
	Load BenchLoad `json:"load"`
	// Standbys is how many standbys run and answer; the others are stopped.
	Standbys int `json:"standbys"`
	// Durability is async or quorum.
	Durability string     `json:"durability"`
	Event      BenchEvent `json:"event,omitempty"`
}

// BenchPoint is one measurement.
type BenchPoint struct {
	Experiment string    `json:"experiment"`
	Variant    string    `json:"variant"`
	Round      int       `json:"round"`
	StartedAt  time.Time `json:"started_at"`
	Load       BenchLoad `json:"load"`
	// Result is what was measured, without the warm-up.
	Result BenchResult `json:"result"`
	// Event is what happened in the middle, nil where nothing was to happen.
	Event *BenchOutage `json:"event,omitempty"`
	// Partial is set where the point was ended before its time.
	Partial bool `json:"partial,omitempty"`
}

// BenchResult is what a load measured.
type BenchResult struct {
	Seconds  float64 `json:"seconds"`
	Requests int64   `json:"requests"`
	// PerSecond is the number of answered requests a second.
	PerSecond float64 `json:"per_second"`
	// Kinds are the requests by kind: categories, browse, search, film, rentals, rent,
	// return and pay, besides read, write and all.
	Kinds map[string]BenchLatency `json:"kinds"`
	// Errors counts failed requests by SQLSTATE, or by what failed besides PostgreSQL.
	Errors map[string]int64 `json:"errors,omitempty"`
	// Refused counts requests that the site refused by its rules, as no copy left.
	Refused int64 `json:"refused"`
	// Retries counts repeats within requests.
	Retries int64 `json:"retries"`
	// Redirected counts reads that went to the primary since the standby lacked the
	// client's own writes.
	Redirected int64 `json:"redirected"`
	// Missed counts reads that did not show the client's own writes.
	Missed int64 `json:"missed"`
	// Series has an entry a second.
	Series []BenchSecond `json:"series"`
	// Answered counts the requests by the member that answered.
	Answered map[string]int64 `json:"answered"`
	Driver   BenchDriver      `json:"driver"`
	// Used is each member's use of the processors in cores, where it could be measured.
	Used map[string]float64 `json:"used,omitempty"`
}

// BenchLatency is a distribution of times in milliseconds.
type BenchLatency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean_ms"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P95   float64 `json:"p95_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
	// Histogram is the whole distribution, in HdrHistogram's compressed form, base64.
	Histogram string `json:"histogram,omitempty"`
}

// BenchSecond is one second of a point.
type BenchSecond struct {
	// At is the second, counted from the end of the warm-up.
	At     int     `json:"at"`
	Reads  int64   `json:"reads"`
	Writes int64   `json:"writes"`
	Errors int64   `json:"errors"`
	P99    float64 `json:"p99_ms"`
	// LagBytes is how much of the log each standby had still to replay.
	LagBytes map[string]int64 `json:"lag_bytes,omitempty"`
}

// BenchDriver says whether the driver of the load kept up.
type BenchDriver struct {
	// Cores is the driver's own use of the processors.
	Cores float64 `json:"cores"`
	// LateP99 and LateMax are how long after their intended time requests began, in an
	// open loop.
	LateP99 float64 `json:"late_p99_ms"`
	LateMax float64 `json:"late_max_ms"`
	// Late is set where the driver, not the cluster, may have been measured.
	Late bool `json:"late"`
}

// BenchOutage is what an event in the middle of a point cost the site's users.
type BenchOutage struct {
	Event BenchEvent `json:"event"`
	// At is when it happened, in seconds from the end of the warm-up.
	At float64 `json:"at_seconds"`
	// WritesMillis and ReadsMillis are the longest time without an answered write or
	// read around it.
	WritesMillis float64 `json:"writes_ms"`
	ReadsMillis  float64 `json:"reads_ms"`
	// Errors is the number of requests that failed from then on.
	Errors int64 `json:"errors"`
	// NewPrimary is the primary afterwards.
	NewPrimary string `json:"new_primary"`
	// Lost counts acknowledged rentals that are not there.
	Lost int64 `json:"lost"`
}

// BenchRequest asks for a bench.
type BenchRequest struct {
	Kind BenchKind `json:"kind"`
	// Load is the load of a run.
	Load *BenchLoad `json:"load,omitempty"`
	// Suite is the text of a suite's file; empty is pgapp's own.
	Suite string `json:"suite,omitempty"`
	// Quick takes the small sizes of pgapp's own suite.
	Quick bool `json:"quick,omitempty"`
	// Yes is the cluster's name, where its database is not only Pagila.
	Yes string `json:"yes_this_cluster,omitempty"`
}
