package tree

import (
	"os"
	"path/filepath"
	"strings"
)

// Binaries are the PostgreSQL programs that Find chose.
type Binaries struct {
	// Dir is the absolute path of the directory that they are in.
	Dir string
	// Version is PostgreSQL's, such as 17.12.
	Version string
	// Source is where they come from.
	Source Source
	// Skipped says, a line each, why other programs were passed over.
	Skipped []string
}

// Path returns the absolute path of a program.
func (b Binaries) Path(program string) string { return filepath.Join(b.Dir, program) }

// Env returns what must stand in the environment of these programs, as KEY=VALUE:
// mostly nothing. The tree's C library looks for locales where the host keeps them;
// on a host without the locale C.UTF-8 (that of a small container, or one that
// is not glibc's) LOCPATH leads it to the tree's.
func (b Binaries) Env() []string {
	if b.Source != SourceTree {
		return nil
	}
	return localeEnv(b.Dir, "/"+localePath)
}

func localeEnv(binDir, hostLocales string) []string {
	for _, name := range []string{"C.utf8", "C.UTF-8"} {
		if _, err := os.Stat(filepath.Join(hostLocales, name, "LC_CTYPE")); err == nil {
			return nil
		}
	}
	root := strings.TrimSuffix(binDir, string(filepath.Separator)+filepath.FromSlash(binPath))
	return []string{"LOCPATH=" + filepath.Join(root, filepath.FromSlash(localePath)) + ":" + hostLocales}
}
