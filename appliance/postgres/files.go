package postgres

import (
	"context"
	"path"
	"strings"

	"pgapp/appliance"
)

// CheckFiles refuses parameters that name files missing on the member: libraries
// to preload, and the certificate and key of ssl. PostgreSQL accepts such a
// configuration, and then doesn't start or opens no session. The error is a
// [appliance.Problem] with id postgres-config.
func CheckFiles(ctx context.Context, sh Shell, parameters map[string]string) error {
	if err := checkPreload(ctx, sh, parameters); err != nil {
		return err
	}
	return checkTLS(ctx, sh, parameters)
}

// unreadableScript prints the arguments that are not readable files.
const unreadableScript = `for f in "$@"; do [ -r "$f" ] || printf '%s\n' "$f"; done`

// checkTLS looks for what ssl needs. A reload without it is a line in the
// server's log only, and the next start fails.
func checkTLS(ctx context.Context, sh Shell, parameters map[string]string) error {
	if !isOn(parameters["ssl"]) {
		return nil
	}
	var files []string
	for _, p := range []struct{ name, standard string }{{"ssl_cert_file", "server.crt"}, {"ssl_key_file", "server.key"}} {
		file := parameters[p.name]
		if file == "" {
			file = p.standard
		}
		if !path.IsAbs(file) {
			file = path.Join(sh.Layout().DataDir, file)
		}
		files = append(files, file)
	}
	missing, err := script(ctx, sh, unreadableScript, files...)
	if err != nil {
		return failure(appliance.ErrPostgresConfig, err, "looking for the certificate and key of ssl")
	}
	if missing != "" {
		return appliance.NewProblem(appliance.ErrPostgresConfig,
			"ssl is on, and PostgreSQL can't read %s", strings.Join(strings.Split(strings.TrimSpace(missing), "\n"), " and ")).
			WithHint("copy certificate and key to every member, readable only by the server's user, and set ssl_cert_file and ssl_key_file; or remove ssl")
	}
	return nil
}

// isOn reads a boolean parameter as PostgreSQL does (parse_bool): any beginning
// of on, true or yes that isn't one of off's too, and 1.
func isOn(value string) bool {
	v := strings.ToLower(strings.TrimSpace(value))
	return v == "1" || v == "on" || v != "" && (strings.HasPrefix("true", v) || strings.HasPrefix("yes", v))
}
