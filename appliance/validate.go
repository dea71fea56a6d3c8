package appliance

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"
)

// The limits of a spec.
const (
	MaxStandbys = 16
	maxNameLen  = 40
	// maxIdentLen is NAMEDATALEN-1 of PostgreSQL.
	maxIdentLen = 63
	maxPathLen  = 4096
	maxVCPUs    = 256
	minMemory   = 256
	maxMemory   = 1 << 20
	minDisk     = 2
	maxDisk     = 64 << 10
	maxValueLen = 1024
	maxSQLFiles = 100
)

// ValidName tells whether s is a valid name of a cluster or member:
// [a-z][a-z0-9-]*, at most 40 characters, not ending in a hyphen.
func ValidName(s string) bool {
	if s == "" || len(s) > maxNameLen || s[len(s)-1] == '-' || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return false
		}
	}
	return true
}

// validDatabase allows names that need no quotes and are no keyword of
// pg_hba.conf or libpq.
func validDatabase(s string) string {
	if len(s) == 0 || len(s) > maxIdentLen {
		return fmt.Sprintf("has to be 1 to %d characters long", maxIdentLen)
	}
	for i, r := range s {
		if (r < 'a' || r > 'z') && r != '_' && (i == 0 || r < '0' || r > '9') {
			return "may contain only a-z, 0-9 and _, and has to start with a letter or _"
		}
	}
	switch s {
	case "postgres", "template0", "template1", "all", "replication", "sameuser", "samerole", "samegroup":
		return "is reserved by PostgreSQL"
	}
	if strings.HasPrefix(s, "pg_") {
		return "may not start with pg_"
	}
	return ""
}

// validPath allows an absolute, clean path without control characters.
func validPath(p string) string {
	switch {
	case len(p) > maxPathLen:
		return "is too long"
	case strings.ContainsFunc(p, unicode.IsControl):
		return "contains a control character"
	case !filepath.IsAbs(p) || filepath.Clean(p) != p:
		return "has to be an absolute path without . or .."
	}
	return ""
}

// ownedParameters are the parameters that pgapp sets. A spec can't set them.
func ownedParameters() []string {
	return []string{
		"allow_alter_system", "archive_cleanup_command", "cluster_name", "config_file", "data_directory",
		"external_pid_file", "hba_file", "hot_standby", "ident_file", "include", "include_dir", "include_if_exists", "listen_addresses", "log_directory", "log_filename",
		"logging_collector", "max_replication_slots", "max_wal_senders", "port", "primary_conninfo", "primary_slot_name",
		"promote_trigger_file", "recovery_target_timeline", "restore_command", "synchronous_standby_names",
		"unix_socket_directories", "unix_socket_permissions", "wal_level", "wal_log_hints",
	}
}

// OwnedParameter tells whether the parameter is one that pgapp sets.
func OwnedParameter(name string) bool {
	name = strings.ToLower(name)
	own := ownedParameters()
	i := sort.SearchStrings(own, name)
	return i < len(own) && own[i] == name || strings.HasPrefix(name, "recovery_target")
}

// archivingParameter tells whether the parameter says where WAL is archived. A
// spec can't set it, so that backups of pgapp's own find it free. A cluster
// whose spec has one from an earlier release keeps it until its parameters change.
func archivingParameter(name string) bool {
	switch name {
	case "archive_mode", "archive_command", "archive_library":
		return true
	}
	return false
}

// Validate checks a spec with its defaults. The error is a [Problem] with id
// invalid-spec that names every wrong field.
func (s Spec) Validate() error {
	v := &fieldErrors{}
	v.check("name", ValidName(s.Name), "has to match [a-z][a-z0-9-]*, at most %d characters, not ending in -", maxNameLen)
	v.oneOf("provider", string(s.Provider), string(ProviderAuto), string(ProviderLocal), string(ProviderLibvirt))
	n := s.StandbyCount()
	v.check("standbys", n >= 0 && n <= MaxStandbys, "has to be 0 to %d, not %d", MaxStandbys, n)
	v.add("database", validDatabase(s.Database))
	v.oneOf("dataset", s.Dataset, DatasetPagila, DatasetNone)
	v.check("sql", len(s.SQL) <= maxSQLFiles, "takes at most %d files", maxSQLFiles)
	for i, p := range s.SQL {
		v.add(fmt.Sprintf("sql[%d]", i), validPath(p))
	}
	if s.PostgresBin != "" {
		v.add("postgres_bin", validPath(s.PostgresBin))
	}
	v.check("locale", localeRE().MatchString(s.Locale), "has to look like C.UTF-8 or en_US.UTF-8 (UTF-8 only)")
	for _, name := range slices.Sorted(maps.Keys(s.Parameters)) {
		v.add("parameters."+Visible(name, 80), validParameter(name, s.Parameters[name]))
	}
	s.validateDurability(v)
	v.oneOf("on_last_standby", string(s.OnLastStandby), "", string(OnLastStandbyBlock), string(OnLastStandbyDegrade))
	v.oneOf("automatic", string(s.Automatic), "", string(AutomaticOn), string(AutomaticOff))
	s.validateEndpoint(v)
	s.validateVM(v)
	return v.problem("the cluster's spec is not valid")
}

func (s Spec) validateVM(v *fieldErrors) {
	if s.Provider == ProviderLocal {
		for field, set := range map[string]bool{"primary": s.Primary == PrimaryVM, "first_address": s.FirstAddress != ""} {
			v.check(field, !set, "needs provider libvirt")
		}
		// Fields without effect on local members are checked too.
		s.Provider, s.FirstAddress = ProviderLibvirt, ""
		s = s.WithDefaults()
	}
	v.oneOf("primary", s.Primary, PrimaryHost, PrimaryVM)
	v.oneOf("accel", s.Accel, AccelAuto, AccelKVM, AccelTCG)
	v.add("image", validImage(s.Image))
	v.check("image_digest", s.ImageDigest == "" || digestRE().MatchString(s.ImageDigest), "has to be sha256:HEX or sha512:HEX")
	for field, raw := range map[string]string{"apt_mirror": s.AptMirror, "apt_proxy": s.AptProxy} {
		if raw != "" {
			v.add(field, validHTTPURL(raw))
		}
	}
	v.check("network", ValidName(s.Network), "has to match [a-z][a-z0-9-]*")
	if s.FirstAddress != "" {
		a, err := netip.ParseAddr(s.FirstAddress)
		ok := err == nil && a.Is4() && a.String() == s.FirstAddress && !a.IsLoopback() && !a.IsMulticast() && !a.IsUnspecified() && !a.IsLinkLocalUnicast()
		v.check("first_address", ok, "has to be an IPv4 address of the network")
	}
	v.check("vcpus", s.VCPUs >= 1 && s.VCPUs <= maxVCPUs, "has to be 1 to %d", maxVCPUs)
	v.check("memory_mib", s.MemoryMiB >= minMemory && s.MemoryMiB <= maxMemory, "has to be %d to %d", minMemory, maxMemory)
	v.check("disk_gib", s.DiskGiB >= minDisk && s.DiskGiB <= maxDisk, "has to be %d to %d", minDisk, maxDisk)
}

func localeRE() *regexp.Regexp { return regexp.MustCompile(`^([a-z]{2,3}_[A-Z]{2}|C)\.(UTF-8|utf8)$`) }

func digestRE() *regexp.Regexp {
	return regexp.MustCompile(`^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)
}

func validImage(s string) string {
	switch {
	case strings.HasPrefix(s, "https://"), strings.HasPrefix(s, "http://"):
		return validHTTPURL(s)
	case strings.HasPrefix(s, "/"):
		return validPath(s)
	case regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,63}$`).MatchString(s):
		return ""
	}
	return "has to be a name in the catalogue, an absolute file path, or an http(s) URL"
}

func validHTTPURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.Fragment != "" || len(raw) > maxPathLen ||
		strings.ContainsAny(raw, " \"'\\<>`") || strings.ContainsFunc(raw, unicode.IsControl) {
		return "has to be an http or https URL"
	}
	if u.User != nil {
		return "may not contain a user name or password"
	}
	return ""
}

func validParameter(name, value string) string {
	switch {
	case !regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$`).MatchString(name) || len(name) > maxIdentLen:
		return "is not the name of a parameter"
	case OwnedParameter(name):
		return "is set by pgapp itself"
	case archivingParameter(name):
		return "can't be set: pgapp keeps the archiving of WAL to itself; pg_receivewal can archive it from outside"
	case len(value) > maxValueLen:
		return fmt.Sprintf("is longer than %d characters", maxValueLen)
	case strings.ContainsFunc(value, unicode.IsControl):
		return "contains a control character"
	}
	return ""
}

type fieldErrors struct{ list []FieldError }

func (v *fieldErrors) add(field, message string) {
	if message != "" {
		v.list = append(v.list, FieldError{field, message})
	}
}

func (v *fieldErrors) check(field string, ok bool, format string, args ...any) {
	if !ok {
		v.add(field, fmt.Sprintf(format, args...))
	}
}

func (v *fieldErrors) oneOf(field, value string, allowed ...string) {
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	v.add(field, fmt.Sprintf("has to be one of %s, not %q", strings.Join(allowed, ", "), value))
}

func (v *fieldErrors) problem(message string) error {
	if len(v.list) == 0 {
		return nil
	}
	slices.SortStableFunc(v.list, func(a, b FieldError) int { return strings.Compare(a.Field, b.Field) })
	return &Problem{ID: ErrInvalidSpec, Message: message, Fields: v.list, Hint: "see 'pgapp up --help' for what each field takes"}
}

// Visible makes a hostile text safe for a terminal: it quotes a text with special
// characters, and cuts it off after most bytes.
func Visible(s string, most int) string {
	q := strconv.Quote(s)
	if q == `"`+s+`"` && len(s) <= most {
		return s
	}
	if len(q) > most {
		q = strings.ToValidUTF8(q[:most], "") + "…"
	}
	return q
}
