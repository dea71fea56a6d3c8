package tree

import (
	"os"
	"path/filepath"
	"strings"
)

// Binaries are the PostgreSQL programs that Find chose.
type Binaries struct {
	// Dir is the absolute path of their directory.
	Dir string
	// Version is PostgreSQL's, such as 17.12.
	Version string
	// Source is their origin.
	Source Source
	// Skipped lists the reasons against other programs, one a line.
	Skipped []string
}

// Env returns the variables that the programs need in their environment, as
// KEY=VALUE; usually none. The tree's C library looks for locales in the host's
// directory; on a host without the locale C.UTF-8 (a small container, or a system
// without glibc) LOCPATH names the tree's directory.
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
