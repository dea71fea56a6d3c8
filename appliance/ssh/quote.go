package ssh

import (
	"fmt"
	"sort"
	"strings"

	"pgapp/appliance"
)

// quote makes one word for a POSIX shell of any string without NUL: inside
// single quotes only the single quote is special.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

// runMark is the environment variable that identifies a command's processes for
// killing. Its name doesn't begin with PG, as PostgreSQL's variables do.
const runMark = "RUN_OF_PGAPP"

// words returns the argv that runs c with a clean environment, in the root
// directory, as user (if empty, the login user). Only the login shell parses
// the words, after quote.
func words(c appliance.Command, user, mark string) ([]string, error) {
	if len(c.Argv) == 0 || c.Argv[0] == "" || strings.ContainsRune(c.Argv[0], '=') || strings.HasPrefix(c.Argv[0], "-") {
		return nil, fmt.Errorf("the command %q has no usable program name", c.Argv)
	}
	var out []string
	if user != "" {
		out = append(out, "sudo", "-n", "-u", user, "--")
	}
	out = append(out, "env", "-i", "-C", "/", "--", "LC_ALL=C",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	if mark != "" {
		out = append(out, runMark+"="+mark)
	}
	names := make([]string, 0, len(c.Env))
	for name := range c.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.HasPrefix(name, "-") {
			return nil, fmt.Errorf("the environment variable %q has no usable name", name)
		}
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		out = append(out, name+"="+c.Env[name])
	}
	out = append(out, c.Argv...)
	for _, w := range out {
		if strings.ContainsRune(w, 0) {
			return nil, fmt.Errorf("the command %q holds a NUL character", c.Argv[0])
		}
	}
	return out, nil
}
