package postgres

import (
	"fmt"
	"net/netip"
	"path"
	"sort"
	"strconv"
	"strings"
	"time"

	"pgapp/appliance"
)

// Names in the configuration files, the roles and the checks.
const (
	// ConfFile is pgapp's configuration file in the data directory, included by
	// postgresql.conf.
	ConfFile = "pgapp.conf"
	// PassFile is the replicator's password file, in Layout.ConfDir.
	PassFile = "pgpass"

	// The roles in every cluster.
	RoleSuperuser  = "postgres"
	RoleReplicator = "replicator"
	RoleRewind     = "rewind"
	RoleControl    = "pgapp"
	RoleApp        = "app"

	identMap = "pgapp"
)

// The limits are the same on every member for any number of standbys, so that
// scaling needs no restart. Each of at most appliance.MaxStandbys simultaneous
// base backups takes two walsenders.
const (
	maxWALSenders = 2*appliance.MaxStandbys + 8
	maxSlots      = 2*appliance.MaxStandbys + 8
)

const (
	mib         = 1 << 20
	minSlotKeep = 1024 * mib // wal_keep_size
)

// Config is the input of a member's configuration files.
type Config struct {
	Cluster string
	Member  string
	// Host and Port are the member's listen address.
	Host string
	Port int
	// Primary is the server that the member follows; nil means that the member
	// is the primary.
	Primary *Upstream
	// Apart keeps a standby from connecting to its primary until [Follow].
	Apart bool
	// FreeReplay has replay cancel the queries that block it at once. A promotion waits
	// for replay, and replay by default waits 30 s for a query.
	FreeReplay bool
	// Restore is from where a standby takes WAL files.
	Restore Restore
	// Database is the application's.
	Database string
	// Sources are the networks of clients, members and the controller.
	Sources []netip.Prefix
	// Parameters are the user's.
	Parameters map[string]string
	// Standbys is the cluster's number of standbys. No file depends on it,
	// since the limits allow for appliance.MaxStandbys.
	Standbys int
	// Promise is rendered as synchronous_standby_names. A member's own must not name
	// the member, so that it can be born as a primary under it.
	Promise appliance.Promise
	// Shut keeps the application out.
	Shut bool
	// DiskBytes is the size of the data directory's file system; slots of absent
	// standbys may keep WAL in a quarter of it. 0 means unknown.
	DiskBytes int64
	// ReplicatorPassword is for the password file.
	ReplicatorPassword appliance.Secret
}

// Upstream is the server that a standby follows, and its slot there.
type Upstream struct {
	Host string
	Port int
	Slot string
}

type setting struct{ name, value string }

// renderConf writes pgapp.conf. The error is a [appliance.Problem] with id
// postgres-config.
func renderConf(l appliance.Layout, c Config) ([]byte, error) {
	own, err := ownSettings(l, c)
	if err != nil {
		return nil, configProblem(err)
	}
	var b strings.Builder
	b.WriteString("# Written by pgapp, and written anew before every start: changes here are lost.\n" +
		"# Set parameters with 'pgapp up', or with ALTER SYSTEM.\n")
	defaults := defaultSettings(c)
	for name := range c.Parameters {
		if err := userParameter(name); err != nil {
			return nil, configProblem(err)
		}
	}
	for _, section := range []struct {
		title string
		list  []setting
	}{{"Defaults", defaults}, {"The user's", userSettings(c.Parameters)}, {"The member's own", own}} {
		if len(section.list) == 0 {
			continue
		}
		b.WriteString("\n# " + section.title + "\n")
		for _, s := range section.list {
			v, err := confValue(s.value)
			if err != nil {
				return nil, configProblem(fmt.Errorf("parameter %s: %w", s.name, err))
			}
			b.WriteString(s.name + " = " + v + "\n")
		}
	}
	return []byte(b.String()), nil
}

func configProblem(err error) error {
	return appliance.NewProblem(appliance.ErrPostgresConfig, "the configuration can't be written: %w", err)
}

// userParameter refuses invalid names, parameters that pgapp sets, and include
// directives.
func userParameter(name string) error {
	lower := strings.ToLower(name)
	for i, r := range lower {
		if (r < 'a' || r > 'z') && r != '_' && (i == 0 || (r < '0' || r > '9') && r != '.') {
			return fmt.Errorf("%q is not the name of a parameter", name)
		}
	}
	switch {
	case lower == "", strings.HasPrefix(lower, "include"):
		return fmt.Errorf("%q is not the name of a parameter", name)
	case appliance.OwnedParameter(lower):
		return fmt.Errorf("parameter %s is set by pgapp itself", name)
	}
	return nil
}

func userSettings(params map[string]string) []setting {
	out := make([]setting, 0, len(params))
	for name, value := range params {
		out = append(out, setting{name, value})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out
}

// defaultSettings are pgapp's settings that a user's parameters may replace.
func defaultSettings(c Config) []setting {
	return []setting{
		{"shared_buffers", "128MB"},
		{"password_encryption", "scram-sha-256"},
		{"full_page_writes", "on"},
		{"wal_keep_size", "1GB"},
		{"max_slot_wal_keep_size", slotKeep(c.DiskBytes)},
		{"summarize_wal", "on"},
		{"wal_sender_timeout", "10s"},
		{"wal_receiver_timeout", "10s"},
		{"wal_retrieve_retry_interval", "1s"},
		{"tcp_user_timeout", "10s"},
		{"tcp_keepalives_idle", "10s"},
		{"tcp_keepalives_interval", "5s"},
		{"tcp_keepalives_count", "3"},
		{"log_destination", "stderr"},
		{"log_line_prefix", "%m [%p] %q%u@%d %a "},
		{"log_timezone", "UTC"},
		{"lc_messages", "C"},
	}
}

// slotKeep limits the WAL kept by slots to a quarter of the disk, so that an
// absent standby can't fill the disk, but to no less than wal_keep_size.
func slotKeep(disk int64) string {
	if disk <= 0 {
		return "4096MB"
	}
	return strconv.FormatInt(max(disk/4, minSlotKeep)/mib, 10) + "MB"
}

// ownSettings come last; verify reports settings that override them.
func ownSettings(l appliance.Layout, c Config) ([]setting, error) {
	info, slot := "", ""
	if c.Primary != nil && !c.Apart {
		var err error
		if info, err = primaryConninfo(l, c); err != nil {
			return nil, err
		}
		slot = c.Primary.Slot
	}
	own := []setting{
		{"cluster_name", c.Cluster + "/" + c.Member},
		{"listen_addresses", c.Host},
		{"port", strconv.Itoa(c.Port)},
		{"unix_socket_directories", l.SocketDir},
		{"unix_socket_permissions", "0700"},
		{"logging_collector", "off"},
		{"wal_level", "replica"},
		{"wal_log_hints", "on"},
		{"hot_standby", "on"},
		{"max_wal_senders", strconv.Itoa(maxWALSenders)},
		{"max_replication_slots", strconv.Itoa(maxSlots)},
		{"recovery_target_timeline", "latest"},
		{"synchronous_standby_names", c.Promise.Setting()},
		{"primary_conninfo", info},
		{"primary_slot_name", slot},
	}
	if c.FreeReplay {
		own = append(own, setting{"max_standby_streaming_delay", "0"}, setting{"max_standby_archive_delay", "0"})
	}
	if c.Restore.From != "" {
		own = append(own, setting{"restore_command", c.Restore.command()})
	}
	return own, nil
}

// replicationConninfo is the replicator's connection string. The password is in
// the password file, and the server may ask for it by SCRAM only.
func replicationConninfo(l appliance.Layout, host string, port int, application string, extra ...string) (string, error) {
	return conninfo(append([]string{
		"host", host,
		"port", strconv.Itoa(port),
		"user", RoleReplicator,
		"passfile", path.Join(l.ConfDir, PassFile),
		"require_auth", "scram-sha-256",
		"gssencmode", "disable",
		"connect_timeout", strconv.Itoa(int((10 * time.Second).Seconds())),
		"tcp_user_timeout", strconv.Itoa(int((10 * time.Second).Milliseconds())),
		"application_name", application,
	}, extra...)...)
}

func primaryConninfo(l appliance.Layout, c Config) (string, error) {
	return replicationConninfo(l, c.Primary.Host, c.Primary.Port, c.Member)
}

// includeLine is the last line of postgresql.conf, so that ConfFile prevails.
const includeLine = "include = '" + ConfFile + "'\t# by pgapp; keep this line the last"

// renderMainConf returns postgresql.conf with the include as its last line.
func renderMainConf(old []byte) []byte {
	var keep []string
	for line := range strings.Lines(string(old)) {
		line = strings.TrimRight(line, "\r\n")
		key := settingName(line)
		if key == "include" && strings.Contains(line, "'"+ConfFile+"'") {
			continue
		}
		keep = append(keep, line)
	}
	text := strings.TrimRight(strings.Join(keep, "\n"), "\n")
	return []byte(text + "\n\n" + includeLine + "\n")
}

// renderAutoConf returns postgresql.auto.conf without the parameters that pgapp
// owns. The rest belongs to the user's ALTER SYSTEM.
func renderAutoConf(old []byte) []byte {
	var b strings.Builder
	for line := range strings.Lines(string(old)) {
		key := settingName(line)
		if key != "" && appliance.OwnedParameter(key) {
			continue
		}
		b.WriteString(line)
	}
	return []byte(b.String())
}

// settingName returns the parameter's name, in lower case, from a line of a
// configuration file; for comments and blank lines, "".
func settingName(line string) string {
	line = strings.TrimSpace(line)
	end := strings.IndexFunc(line, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '.' && r != '$' && r < 0x80
	})
	if end < 0 {
		end = len(line)
	}
	return strings.ToLower(line[:end])
}
