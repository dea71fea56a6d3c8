package postgres

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// hostile are values that have broken writers of configuration files.
func hostile() []string {
	return []string{
		"", " ", "a b", "a'b", `a"b`, `a\b`, `a\`, "''", "' '", `"quoted"`, "a;id", "$(id)", "`id`", "a|id", "--help", "a\x00b", "a\nb",
		"a\r\nHost: x", "../../etc/passwd", "/etc/passwd", "~", "é", "\u202eabc", strings.Repeat("a", 65), "𝟙", "x\u2028y",
		`x"; DROP ROLE postgres; --`, "x') ; ALTER ROLE ctl SUPERUSER; --", "pg_x", "template0", "postgres", "replication", "all",
		"sameuser", "+role", "@file", "host=x dbname=y", "x' options='-c log_statement=all", "passfile=/etc/shadow", "sslmode=disable",
		"x\nshared_preload_libraries='evil'", "x'\nshared_preload_libraries = 'evil", "host all all 0.0.0.0/0 trust", "a#b", "a,b", "a\tb",
		"ANY 1 (*)", `"a"","b"`, "FIRST 0", "%s%n", "%(x)s", "\x1b[2J", "a:b", `a\:b`, "\xff", "\u0085",
	}
}

func seed(f *testing.F) {
	for _, s := range hostile() {
		f.Add(s)
	}
}

// FuzzConfValue reads values back as guc-file.l and GUC_scanstr do.
func FuzzConfValue(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, s string) {
		out, err := confValue(s)
		if err != nil {
			mustBeRefusable(t, s)
			return
		}
		if strings.ContainsFunc(out, unicode.IsControl) {
			t.Fatalf("%q holds a control character", out)
		}
		if got := readConf(t, out); got != s {
			t.Errorf("%q came back as %q", s, got)
		}
	})
}

func mustBeRefusable(t *testing.T, s string) {
	t.Helper()
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }) {
		t.Errorf("%q was refused", s)
	}
}

func readConf(t *testing.T, s string) string {
	t.Helper()
	if len(s) < 2 || s[0] != '\'' || s[len(s)-1] != '\'' {
		t.Fatalf("%q is not in quotes", s)
	}
	s = s[1 : len(s)-1]
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\'' && (i+1 >= len(s) || s[i+1] != '\''):
			t.Fatalf("%q ends early at %d", s, i)
		case s[i] == '\\' && (i+1 >= len(s) || s[i+1] != '\\'):
			t.Fatalf("%q holds an escape at %d", s, i)
		case s[i] == '\'' || s[i] == '\\':
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// FuzzConninfo reads connection strings back with pgx's parser, which follows
// libpq's rules.
func FuzzConninfo(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, s string) {
		out, err := conninfo("host", "127.0.0.1", "application_name", s, "user", "replicator", "sslmode", "disable", "password", "x")
		if err != nil {
			mustBeRefusable(t, s)
			return
		}
		cfg, err := pgx.ParseConfig(out)
		if err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if got := cfg.RuntimeParams["application_name"]; got != s {
			t.Errorf("%q came back as %q", s, got)
		}
		if cfg.Host != "127.0.0.1" || cfg.User != "replicator" || len(cfg.RuntimeParams) > 1 {
			t.Errorf("%q changed another parameter: %+v", s, cfg.RuntimeParams)
		}
	})
}

// FuzzHBALine reads a rule back as hba.c's tokenizer does.
func FuzzHBALine(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, s string) {
		line, err := hbaRule{kind: "host", database: s, user: RoleApp, address: "10.0.0.0/8", method: "scram-sha-256"}.line()
		if err != nil {
			return
		}
		if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
			t.Fatalf("%q is not one line", line)
		}
		got := hbaTokens(strings.TrimSuffix(line, "\n"))
		want := []hbaField{{"host", false}, {s, true}, {RoleApp, true}, {"10.0.0.0/8", false}, {"scram-sha-256", false}}
		if len(got) != len(want) {
			t.Fatalf("%q has the fields %v", line, got)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%q: field %d is %v", line, i, got[i])
			}
		}
		// A quoted name is no keyword, but one with a slash is an expression.
		if s[0] == '/' || strings.HasSuffix(line, "\\\n") {
			t.Errorf("%q was let through", s)
		}
	})
}

type hbaField struct {
	text   string
	quoted bool
}

// hbaTokens follows next_token of PostgreSQL 17's hba.c.
func hbaTokens(line string) []hbaField {
	var out []hbaField
	for i := 0; i < len(line); {
		for i < len(line) && (line[i] == ' ' || line[i] == '\t' || line[i] == ',') {
			i++
		}
		if i >= len(line) {
			break
		}
		var b strings.Builder
		inQuote, wasQuote := false, false
		start := i
		for ; i < len(line); i++ {
			c := line[i]
			if !inQuote && (c == ' ' || c == '\t' || c == ',' || c == '#') {
				break
			}
			if c != '"' || wasQuote {
				b.WriteByte(c)
			}
			if inQuote && c == '"' {
				wasQuote = !wasQuote
			} else {
				wasQuote = false
			}
			if c == '"' {
				inQuote = !inQuote
			}
		}
		out = append(out, hbaField{b.String(), line[start] == '"'})
		if i < len(line) && line[i] == '#' {
			break
		}
	}
	return out
}

// FuzzPassfileField reads a password back as fe-connect.c does.
func FuzzPassfileField(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, s string) {
		out, err := passfileField(s)
		if err != nil {
			mustBeRefusable(t, s)
			return
		}
		var b strings.Builder
		for i := 0; i < len(out); i++ {
			if out[i] == ':' {
				t.Fatalf("%q ends at %d", out, i)
			}
			if out[i] == '\\' && i+1 < len(out) {
				i++
			}
			b.WriteByte(out[i])
		}
		if b.String() != s {
			t.Errorf("%q came back as %q", s, b.String())
		}
	})
}

func TestSQLQuoting(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{`a`: `"a"`, `a"b`: `"a""b"`, `x"; DROP`: `"x""; DROP"`} {
		if got := identifier(in); got != want {
			t.Errorf("identifier(%q) = %s", in, got)
		}
	}
	if got := literal(`a'b`); got != `'a''b'` {
		t.Errorf("literal: %s", got)
	}
}
