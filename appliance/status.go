package appliance

import "time"

// MemberState is the observed state of a member.
type MemberState string

// The states of a member.
const (
	StateRunning     MemberState = "running" // a primary
	StateStreaming   MemberState = "streaming"
	StateCatchup     MemberState = "catchup"
	StateCloning     MemberState = "cloning"
	StateStopped     MemberState = "stopped"
	StateUnreachable MemberState = "unreachable"
	StateFenced      MemberState = "fenced"
	StateFailed      MemberState = "failed"
	// The states of a virtual machine that its host has paused, or that boots.
	StatePaused  MemberState = "paused"
	StateBooting MemberState = "booting"
)

// ClusterStatus is a cluster's record and its observed state, as `pgapp ps` and
// GET /clusters/{c} show them.
type ClusterStatus struct {
	Name             string       `json:"name" yaml:"name"`
	Provider         ProviderKind `json:"provider" yaml:"provider"`
	Phase            Phase        `json:"phase" yaml:"phase"`
	Database         string       `json:"database" yaml:"database"`
	Primary          string       `json:"primary" yaml:"primary"`
	Timeline         uint32       `json:"timeline" yaml:"timeline"`
	SystemIdentifier string       `json:"system_identifier" yaml:"system_identifier"`
	// Durability is the wanted one. Promise is what holds for every acknowledged commit
	// now; under async it is left out.
	Durability Durability     `json:"durability" yaml:"durability"`
	Promise    *Promise       `json:"promise,omitempty" yaml:"promise,omitempty"`
	Members    []MemberStatus `json:"members" yaml:"members"`
	// Automatic is whether pgapp keeps the cluster by itself now, and Pause the user's
	// pause if one holds.
	Automatic Automatic `json:"automatic" yaml:"automatic"`
	Pause     *Pause    `json:"pause,omitempty" yaml:"pause,omitempty"`
	// Doubts are what should be done about members, and why it is not done yet.
	Doubts []Doubt `json:"doubts,omitempty" yaml:"doubts,omitempty"`
	// Endpoints are the addresses that follow the primary, and where they lead.
	Endpoints *EndpointsStatus `json:"endpoints,omitempty" yaml:"endpoints,omitempty" doc:"ports on 127.0.0.1 of the addresses for writes and for reads that follow the primary, and where they lead; left out without them"`
	// Epoch grows with every change of primary.
	Epoch uint64 `json:"epoch" yaml:"epoch"`
	// Promotions are the changes of primary, the newest last.
	Promotions []Promotion `json:"promotions,omitempty" yaml:"promotions,omitempty"`
	// Change is the change of primary that has begun and is not finished, if any.
	Change *ChangeStatus `json:"change,omitempty" yaml:"change,omitempty"`
	// Operation is the id of the running operation, if any.
	Operation string `json:"operation,omitempty" yaml:"operation,omitempty"`
	UUID      string `json:"uuid" yaml:"uuid"`
	Spec      *Spec  `json:"spec,omitempty" yaml:"spec,omitempty"`
	Revision  uint64 `json:"revision" yaml:"revision"`
}

// ChangeStatus is a change of primary that is not finished.
type ChangeStatus struct {
	// Operation is the id of the operation that makes the change.
	Operation string        `json:"operation" yaml:"operation"`
	Kind      OperationKind `json:"kind" yaml:"kind"`
	From      string        `json:"from" yaml:"from"`
	// To is the member that becomes the primary, once it is recorded.
	To    string      `json:"to,omitempty" yaml:"to,omitempty"`
	Phase ChangePhase `json:"phase" yaml:"phase"`
	// Cancellable is set until the new primary is recorded.
	Cancellable bool `json:"cancellable" yaml:"cancellable"`
	// Detail says what is being done, and what keeps it from going on.
	Detail string `json:"detail,omitempty" yaml:"detail,omitempty"`
}

// MemberStatus is one member as observed. The replication fields are those of
// pg_stat_replication on the primary and are set for standbys only.
type MemberStatus struct {
	Name             string      `json:"name" yaml:"name"`
	Role             Role        `json:"role" yaml:"role"`
	State            MemberState `json:"state" yaml:"state"`
	Placement        Placement   `json:"placement" yaml:"placement"`
	Host             string      `json:"host" yaml:"host"`
	Port             int         `json:"port" yaml:"port"`
	Timeline         uint32      `json:"timeline,omitempty" yaml:"timeline,omitempty"`
	LSN              string      `json:"lsn,omitempty" yaml:"lsn,omitempty"`
	Slot             string      `json:"slot,omitempty" yaml:"slot,omitempty"`
	SyncState        string      `json:"sync_state,omitempty" yaml:"sync_state,omitempty"`
	SentLSN          string      `json:"sent_lsn,omitempty" yaml:"sent_lsn,omitempty"`
	ReplayLSN        string      `json:"replay_lsn,omitempty" yaml:"replay_lsn,omitempty"`
	ReplayLagBytes   *int64      `json:"replay_lag_bytes,omitempty" yaml:"replay_lag_bytes,omitempty"`
	ReplayLagSeconds *float64    `json:"replay_lag_seconds,omitempty" yaml:"replay_lag_seconds,omitempty"`
	// Detail says what is wrong with the member.
	Detail string `json:"detail,omitempty" yaml:"detail,omitempty"`
}

// VerifyReport is the result of `pgapp verify`.
type VerifyReport struct {
	OK bool `json:"ok" yaml:"ok"`
	// Replication holds the primary's pg_stat_replication.
	Replication []ReplicationRow `json:"replication" yaml:"replication"`
	Checks      []Check          `json:"checks" yaml:"checks"`
}

// ReplicationRow is a row of pg_stat_replication (documentation section 27.2.4).
type ReplicationRow struct {
	ApplicationName string  `json:"application_name" yaml:"application_name"`
	ClientAddr      string  `json:"client_addr" yaml:"client_addr"`
	State           string  `json:"state" yaml:"state"`
	SyncState       string  `json:"sync_state" yaml:"sync_state"`
	SentLSN         string  `json:"sent_lsn" yaml:"sent_lsn"`
	WriteLSN        string  `json:"write_lsn" yaml:"write_lsn"`
	FlushLSN        string  `json:"flush_lsn" yaml:"flush_lsn"`
	ReplayLSN       string  `json:"replay_lsn" yaml:"replay_lsn"`
	ReplayLagBytes  int64   `json:"replay_lag_bytes" yaml:"replay_lag_bytes"`
	ReplayLagSecs   float64 `json:"replay_lag_seconds" yaml:"replay_lag_seconds"`
}

// Check is one check of verify.
type Check struct {
	Name   string `json:"name" yaml:"name"`
	Member string `json:"member" yaml:"member"`
	OK     bool   `json:"ok" yaml:"ok"`
	// Skipped is set if the check was not possible; then OK is true and Detail
	// says why. The report's OK is then false, unless the user's configuration
	// excludes the check.
	Skipped bool   `json:"skipped,omitempty" yaml:"skipped,omitempty"`
	Detail  string `json:"detail" yaml:"detail"`
}

// Info describes the daemon, as `pgapp info` and GET /info show it.
type Info struct {
	URL     string `json:"url" yaml:"url"`
	Socket  string `json:"socket" yaml:"socket"`
	PID     int    `json:"pid" yaml:"pid"`
	Home    string `json:"home" yaml:"home"`
	Version string `json:"version" yaml:"version"`
	// Build identifies the build of the binary.
	Build string `json:"build" yaml:"build"`
	// Mode is normal, or recovery if the store can't be used.
	Mode string `json:"mode" yaml:"mode"`
	// Reason says why the daemon is in recovery.
	Reason string `json:"reason,omitempty" yaml:"reason,omitempty"`
	// CAFile is the path, on the daemon's machine, of the CA that clients have to
	// trust. It is empty if the certificate is not signed by pgapp's own CA.
	CAFile string `json:"ca_file,omitempty" yaml:"ca_file,omitempty"`
	// Loops are the daemon's long-running loops that have failed lately. Each is
	// started again.
	Loops []LoopFailure `json:"loops,omitempty" yaml:"loops,omitempty"`
}

// LoopFailure is the last failure of one of the daemon's loops.
type LoopFailure struct {
	Loop     string    `json:"loop" yaml:"loop"`
	Error    string    `json:"error" yaml:"error"`
	FailedAt time.Time `json:"failed_at" yaml:"failed_at"`
	// Failures counts those in a row.
	Failures int `json:"failures" yaml:"failures"`
}

// Connection is how a client reaches a cluster's database.
type Connection struct {
	Cluster  string     `json:"cluster" yaml:"cluster"`
	Role     string     `json:"role" yaml:"role"`
	Hosts    []HostPort `json:"hosts" yaml:"hosts"`
	Database string     `json:"database" yaml:"database"`
	User     string     `json:"user" yaml:"user"`
	// PassFile is the path of a libpq password file on the daemon's machine, mode
	// 0600.
	PassFile string `json:"passfile" yaml:"passfile"`
	// Password is empty unless requested.
	Password string `json:"password,omitempty" yaml:"password,omitempty"`
	// Psql is the path of a psql on the daemon's machine.
	Psql string `json:"psql,omitempty" yaml:"psql,omitempty"`
}

// HostPort is a member's address.
type HostPort struct {
	Member string `json:"member" yaml:"member"`
	Host   string `json:"host" yaml:"host"`
	Port   int    `json:"port" yaml:"port"`
	// Endpoint is set for an endpoint's address, which belongs to no member.
	Endpoint bool `json:"endpoint,omitempty" yaml:"endpoint,omitempty"`
	// WaitSeconds is how long an endpoint holds a new connection while no member takes it.
	WaitSeconds int `json:"wait_seconds,omitempty" yaml:"wait_seconds,omitempty"`
	// Local is the superuser's access, for role admin only.
	Local *LocalAccess `json:"local,omitempty" yaml:"local,omitempty"`
}

// LocalAccess is the access to a member through its unix socket, where the
// server's operating system user is the superuser.
type LocalAccess struct {
	SocketDir string `json:"socket_dir" yaml:"socket_dir"`
	OSUser    string `json:"os_user" yaml:"os_user"`
	// Psql is the path of a psql on the member's machine.
	Psql string `json:"psql" yaml:"psql"`
	// Machine is set if the member is on a virtual machine, which needs a login
	// first.
	Machine bool `json:"machine,omitempty" yaml:"machine,omitempty"`
	// Domain is the libvirt domain's name of a virtual machine.
	Domain string `json:"domain,omitempty" yaml:"domain,omitempty"`
}
