package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgapp/appliance/cli"
)

// corpus are strings that mean something to a shell, SSH, SQL, XML, YAML,
// libpq, postgresql.conf, pg_hba.conf, a URL, a terminal or the kernel.
func corpus() []string {
	return []string{
		"a;id", "$(id)", "`id`", "a|id", "-oProxyCommand=id", "--help", "-D/etc", "a b", "a'b", `a"b`, `a\b`, "a%00b", "a\x00b",
		"a\nb", "a\r\nHost: x", "../../etc/passwd", "/etc/passwd", ".", "..", "~", "con", "CON.", "xn--", "é", "\u202eabc",
		strings.Repeat("a", 65), strings.Repeat("a", 5000), " ", "𝟙",
		`x"; DROP ROLE postgres; --`, "x') ; ALTER ROLE ctl SUPERUSER; --", "pg_x", "template0", "postgres", "replication", "all",
		"sameuser", "+role", "@file", `"quoted"`,
		"]]>", "<!--", "&xxe;", `<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>`,
		"</name><devices><disk type='block'><source dev='/dev/vda'/>",
		`name: "x\nruncmd: [touch, /pwn]"`, "!!python/object", "&a *a", "{{7*7}}", "#cloud-config", "yes", "no", "1e3", "0x10",
		"host=x dbname=y", "x' options='-c log_statement=all", "passfile=/etc/shadow", "sslmode=disable",
		"x\nshared_preload_libraries='evil'", "host all all 0.0.0.0/0 trust",
		"10.0.0.0/33", "0.0.0.0/0", "::/0", "10.0.0.1/8", "127.0.0.0/8", "169.254.169.254/32", "224.0.0.0/4", "010.0.0.1", "1.2.3.4%eth0",
		"ANY 1 (*)", `"a"","b"`, "FIRST 0", "%s%n", "%(x)s", "\x1b[2J", "\xff\xfe",
	}
}

// hostile is one flag or field of the spec.
type hostile struct {
	// flag is given on the command line, or field in the file.
	flag, field string
	// names is what an error has to contain.
	names string
	// legal are the strings of the corpus that the field really takes.
	legal func(string) bool
	// with are further arguments.
	with []string
}

func none(string) bool { return false }

func among(values ...string) func(string) bool {
	return func(s string) bool { return slices.Contains(values, s) }
}

// names are the strings of the corpus that are as good as any other name.
func names() []string {
	return []string{"con", "template0", "postgres", "replication", "all", "sameuser", "yes", "no"}
}

// images are names that a catalogue might have.
func images(s string) bool {
	return slices.Contains(append(names(), "1e3", "0x10", "010.0.0.1", "xn--", "/etc/passwd"), s)
}

func flags() []hostile {
	vm := []string{"--provider", "libvirt"}
	here := []string{"--provider", "local"}
	return []hostile{
		{flag: "--cluster", names: "name", legal: among(names()...), with: here},
		{flag: "--provider", names: "provider", legal: none},
		{flag: "--primary", names: "primary", legal: none, with: vm},
		{flag: "--primary", names: "primary", legal: none, with: here},
		{flag: "--accel", names: "accel", legal: none, with: here},
		{flag: "--image-digest", names: "image_digest", legal: none, with: here},
		{flag: "--standbys", names: "standbys", legal: among("0x10"), with: here},
		{flag: "--dataset", names: "dataset", legal: none, with: here},
		{flag: "--database", names: "database", legal: among("con", "yes", "no"), with: here},
		{flag: "--sql", names: "sql[0]", legal: among("/etc/passwd"), with: here},
		{flag: "--postgres-bin", names: "postgres_bin", legal: none, with: here},
		{flag: "--durability", names: "durability", legal: none, with: here},
		{flag: "--automatic", names: "automatic", legal: none, with: here},
		{flag: "--on-last-standby", names: "on_last_standby", legal: none, with: here},
		{flag: "--endpoint", names: "endpoint", legal: none, with: here},
		{flag: "--endpoint-wait", names: "endpoint_wait", legal: none, with: here},
		{flag: "--ro-lag", names: "ro", legal: among("0x10"), with: here},
		{flag: "--ro-primary", names: "ro_primary", legal: none, with: here},
		{flag: "--locale", names: "locale", legal: none, with: here},
		{flag: "--image", names: "image", legal: images, with: vm},
		{flag: "--image-digest", names: "image_digest", legal: none, with: vm},
		{flag: "--accel", names: "accel", legal: none, with: vm},
		{flag: "--apt-mirror", names: "apt_mirror", legal: none, with: vm},
		{flag: "--apt-proxy", names: "apt_proxy", legal: none, with: vm},
		{flag: "--network", names: "network", legal: among(names()...), with: vm},
		{flag: "--vcpus", names: "vcpus", legal: among("0x10"), with: vm},
		{flag: "--memory", names: "memory", legal: none, with: vm},
		{flag: "--disk", names: "disk", legal: among("0x10"), with: vm},
		{flag: "--timeout", names: "timeout", legal: none, with: here},
		{flag: "--file", names: "spec", legal: none, with: here},
		{flag: "--output", names: "--output", legal: none, with: here},
		{flag: "--listen", names: "--listen", legal: none, with: here},
		{flag: "--tls-cert", names: "--tls-cert", legal: none, with: here},
		{flag: "--tls-key", names: "--tls-cert", legal: none, with: here},
	}
}

func fields() []hostile {
	vm := []string{"provider: libvirt"}
	here := []string{"provider: local"}
	return []hostile{
		{field: "name", names: "name", legal: among(names()...), with: here},
		{field: "provider", names: "provider", legal: none},
		{field: "durability", names: "durability", with: here, legal: none},
		{field: "automatic", names: "automatic", with: here, legal: none},
		{field: "primary", names: "primary", legal: none, with: vm},
		{field: "standbys", names: "standbys", legal: none, with: here},
		{field: "dataset", names: "dataset", legal: none, with: here},
		{field: "database", names: "database", legal: among("con", "yes", "no"), with: here},
		{field: "sql", names: "sql", legal: none, with: here},
		{field: "postgres_bin", names: "postgres_bin", legal: none, with: here},
		{field: "locale", names: "locale", legal: none, with: here},
		{field: "image", names: "image", legal: images, with: vm},
		{field: "image_digest", names: "image_digest", legal: none, with: vm},
		{field: "accel", names: "accel", legal: none, with: vm},
		{field: "apt_mirror", names: "apt_mirror", legal: none, with: vm},
		{field: "apt_proxy", names: "apt_proxy", legal: none, with: vm},
		{field: "network", names: "network", legal: among(names()...), with: vm},
		{field: "first_address", names: "first_address", legal: none, with: vm},
		{field: "vcpus", names: "vcpus", legal: none, with: vm},
		{field: "endpoint", names: "endpoint", with: here, legal: none},
		{field: "endpoint_wait", names: "endpoint_wait", with: here, legal: none},
		{field: "ro_lag_mib", names: "ro_lag_mib", legal: none, with: here},
		{field: "ro_primary", names: "ro_primary", with: here, legal: none},
		{field: "memory_mib", names: "memory_mib", legal: none, with: vm},
		{field: "disk_gib", names: "disk_gib", legal: none, with: vm},
		{field: "parameters", names: "parameters", legal: none, with: here},
	}
}

// refused runs the command line in this process and wants exit code 2, an
// error that names the field, nothing on standard output, and no home.
func refused(t *testing.T, want string, args ...string) {
	t.Helper()
	home := filepath.Join(t.TempDir(), "home")
	var out, errs strings.Builder
	code := cli.Main(t.Context(), append(args, "--home", home), cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errs}, local())
	text := errs.String()
	if code != 2 || !strings.Contains(text, want) || !strings.HasPrefix(text, "error[") || out.Len() > 0 {
		t.Errorf("%.200q: exit code %d, want 2 and an error that names %q; it wrote %.300q and %.300q", args, code, want, out.String(), text)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
		t.Errorf("%.200q: control characters reach the terminal: %.300q", args, text)
	}
	if _, err := os.Lstat(home); err == nil {
		t.Errorf("%.200q: the home was made", args)
	}
}

func TestHostileFlags(t *testing.T) {
	t.Parallel()
	for _, f := range flags() {
		t.Run(strings.TrimLeft(f.flag, "-"), func(t *testing.T) {
			t.Parallel()
			for _, s := range corpus() {
				if !f.legal(s) {
					refused(t, f.names, append(slices.Clone(append([]string{"up"}, f.with...)), f.flag+"="+s)...)
				}
			}
		})
	}
}

func TestHostileFields(t *testing.T) {
	t.Parallel()
	for _, f := range fields() {
		t.Run(f.field, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "cluster.yaml")
			for _, s := range corpus() {
				if f.legal(s) {
					continue
				}
				spec := strings.Join(append(slices.Clone(f.with), f.field+": "+quoted(t, s)), "\n") + "\n"
				if err := os.WriteFile(file, []byte(spec), 0o600); err != nil {
					t.Fatal(err)
				}
				refused(t, f.names, "up", "-f", file)
			}
		})
	}
}

// quoted is the string as YAML takes it, which knows JSON's strings.
func quoted(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestHostileParameters(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	legal := append(names(), "a", "pg_x", strings.Repeat("a", 63))
	for _, s := range corpus() {
		b := quoted(t, s)
		specs := []string{}
		if !slices.Contains(legal, s) {
			specs = append(specs, fmt.Sprintf("provider: local\nparameters: {%s: \"1\"}\n", b))
		}
		if strings.ContainsAny(s, "\n\r\x00\x1b") || len(s) > 1024 {
			specs = append(specs, fmt.Sprintf("provider: local\nparameters: {work_mem: %s}\n", b))
		}
		for _, spec := range specs {
			if err := os.WriteFile(file, []byte(spec), 0o600); err != nil {
				t.Fatal(err)
			}
			refused(t, "parameters", "up", "-f", file)
		}
	}
}

func TestHostileFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"empty key":  ": x\n",
		"list":       "- name: a\n",
		"scalar":     "main\n",
		"twice":      "name: a\nname: b\n",
		"two specs":  "name: a\n---\nname: b\nstandby: 1\n",
		"tag":        "name: !!binary AAAA\nstandbys: !!python/object:os.system id\n",
		"laughs":     "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nname: *c\n",
		"deep":       "parameters: " + strings.Repeat("{a: ", 2000) + "1" + strings.Repeat("}", 2000) + "\n",
		"nul":        "name: a\x00b\n",
		"not UTF-8":  "name: \"\xff\xfe\"\n",
		"unknown":    "name: a\npasswort: geheim\n",
		"wrong type": "name: {a: b}\nstandbys: [1]\n",
		"float":      "standbys: 1.5\n",
		"negative":   "provider: local\nstandbys: -1\n",
		"huge":       "provider: local\nstandbys: 99999999999999999999\n",
		"bool":       "standbys: true\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			refused(t, "error[invalid-spec]", "up", "-f", file)
		})
	}
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, []byte("name: a\n"+strings.Repeat("# no end\n", 200_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, "larger than 1 MiB", "up", "-f", big)
}

// TestHostileArguments gives the corpus to what takes a member's name, an
// operation's id or a request.
func TestHostileArguments(t *testing.T) {
	t.Parallel()
	for _, s := range corpus() {
		if strings.HasPrefix(s, "-") { // a flag, and refused as one or help
			continue
		}
		refused(t, "operation", "ops", s)
		refused(t, "method", "api", s, "/api/v1/info")
		if !strings.HasPrefix(s, "/") {
			refused(t, "path", "api", "GET", s)
		}
		if slices.Contains(names(), s) {
			continue
		}
		for _, command := range []string{"stop", "start", "restart", "reinit", "rejoin", "logs", "psql"} {
			refused(t, "member", command, s)
		}
		for _, command := range []string{"switchover", "failover"} {
			if s != "" {
				refused(t, "member", command, "--to="+s)
			}
		}
		refused(t, "name", "ps", "--cluster="+s)
		refused(t, "role", "url", "--role="+s)
		refused(t, "driver", "url", "--driver="+s)
	}
}

// TestEveryFlagMeetsTheCorpus finds the flags of up that the corpus leaves out.
func TestEveryFlagMeetsTheCorpus(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if code := cli.Main(t.Context(), []string{"up", "--help"}, cli.Streams{Out: &out, Err: &out}, local()); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out.String())
	}
	tried := []string{"--home"} // any name of a directory is one
	for _, f := range flags() {
		tried = append(tried, f.flag)
	}
	for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[a-z-]+) (?:string|int|duration|stringArray)`).FindAllStringSubmatch(out.String(), -1) {
		if !slices.Contains(tried, m[1]) {
			t.Errorf("up %s takes a value, and flags() leaves it out", m[1])
		}
	}
}
