package appliance

import (
	"fmt"
	"os"
)

// CheckSQLFile refuses what the daemon can't read, or not a second time: it
// has another standard input than its callers, and resumes a load from the
// start. It never waits for a pipe's other end.
func CheckSQLFile(path string) (size int64, err error) {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return 0, err
	case st.IsDir():
		return 0, fmt.Errorf("%[1]s is a directory; one of pg_dump is loaded by: pg_restore -f - %[1]s | pgapp up … --sql -", path)
	case !st.Mode().IsRegular():
		return 0, fmt.Errorf("%s is not a regular file; 'pgapp up --sql' sends the daemon what comes from a pipe", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	return st.Size(), f.Close()
}
