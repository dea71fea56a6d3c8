package postgres

import (
	"context"
	"path"
	"strings"

	"pgapp/appliance"
)

// preloadScript prints the missing ones of the libraries $2…. The library
// directory is the one with the walreceiver's library; if it is not found beside
// the programs ($1), only absolute paths are checked.
const preloadScript = `dir=
for d in "$1/../lib/postgresql" "$1/../lib"; do
	if [ -e "$d/libpqwalreceiver.so" ]; then dir=$d; break; fi
done
shift
for f in "$@"; do
	case $f in
	/*) p=$f ;;
	*) [ -n "$dir" ] || continue; p=$dir/$f ;;
	esac
	[ -f "$p" ] || [ -f "$p.so" ] || printf '%s\n' "$f"
done`

// checkPreload refuses preload parameters that name a library missing on the
// member: the server would not start, or would open no session.
func checkPreload(ctx context.Context, sh Shell, parameters map[string]string) error {
	_, elsewhere := parameters["dynamic_library_path"]
	for _, name := range []string{"shared_preload_libraries", "session_preload_libraries", "local_preload_libraries"} {
		files := preloadFiles(parameters[name], name == "local_preload_libraries", elsewhere)
		if len(files) == 0 {
			continue
		}
		missing, err := script(ctx, sh, preloadScript, append([]string{sh.Layout().BinDir}, files...)...)
		if err != nil {
			return failure(appliance.ErrPostgresConfig, err, "looking for the libraries of %s", name)
		}
		if missing != "" {
			return appliance.NewProblem(appliance.ErrPostgresConfig,
				"%s names a missing library: %s", name, strings.Join(strings.Fields(missing), ", ")).
				WithHint("install the library on every member, or remove it from the parameter")
		}
	}
	return nil
}

// preloadFiles lists the files to check: absolute, or relative to the library
// directory. If the user set the search path, plain names are not checked.
func preloadFiles(value string, local, elsewhere bool) []string {
	var files []string
	for item := range strings.SplitSeq(value, ",") {
		item = strings.Trim(strings.TrimSpace(item), `"`)
		rest, libdir := strings.CutPrefix(item, "$libdir/")
		switch {
		case item == "":
		case libdir:
			files = append(files, rest)
		case local && !strings.Contains(item, "/"):
			files = append(files, path.Join("plugins", item))
		case path.IsAbs(item) || !elsewhere:
			files = append(files, item)
		}
	}
	return files
}
