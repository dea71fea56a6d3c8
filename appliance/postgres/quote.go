package postgres

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printableText refuses control characters and invalid UTF-8, which could end a
// line of a configuration file.
func printableText(s string) error {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }) {
		return fmt.Errorf("%q holds a control character", s)
	}
	return nil
}

// confValue writes a value for postgresql.conf: in quotes, with quotes and
// backslashes doubled (guc-file.l reads escapes within quotes).
func confValue(s string) (string, error) {
	if err := printableText(s); err != nil {
		return "", err
	}
	return "'" + strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(s) + "'", nil
}

// conninfoValue writes a value for a libpq connection string: in quotes, with
// quotes and backslashes escaped by a backslash.
func conninfoValue(s string) (string, error) {
	if err := printableText(s); err != nil {
		return "", err
	}
	return "'" + strings.NewReplacer(`'`, `\'`, `\`, `\\`).Replace(s) + "'", nil
}

// conninfo writes a libpq connection string of key, value, key, value…
func conninfo(pairs ...string) (string, error) {
	var b strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		v, err := conninfoValue(pairs[i+1])
		if err != nil {
			return "", fmt.Errorf("connection parameter %s: %w", pairs[i], err)
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(pairs[i] + "=" + v)
	}
	return b.String(), nil
}

// hbaToken quotes a name for pg_hba.conf or pg_ident.conf, so that it is not a
// keyword. Even in quotes a leading slash makes a regular expression, and a
// backslash at a line's end joins lines; both are refused.
func hbaToken(s string) (string, error) {
	if err := printableText(s); err != nil {
		return "", err
	}
	if s == "" || s[0] == '/' || strings.ContainsAny(s, `\,`) {
		return "", fmt.Errorf("%q is not allowed in pg_hba.conf", s)
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`, nil
}

// passfileField escapes the separators of libpq's password file.
func passfileField(s string) (string, error) {
	if err := printableText(s); err != nil {
		return "", err
	}
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(s), nil
}

// identifier quotes a name for SQL.
func identifier(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// literal quotes a string for SQL under standard_conforming_strings.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
