package cli

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
)

// version is set by the build (-ldflags -X).
var version = "dev"

// buildID tells this build from every other: the identifier that Go's linker
// derives from all that went into the binary (section .note.go.buildid).
func buildID() string {
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		return revision()
	}
	defer func() { _ = f.Close() }()
	s := f.Section(".note.go.buildid")
	if s == nil {
		return revision()
	}
	data, err := s.Data()
	// An ELF note: three 4-byte words, the name "Go\0\0", then the text.
	const header = 16
	if err != nil || len(data) <= header {
		return revision()
	}
	return string(bytes.TrimRight(data[header:], "\x00"))
}

// revision is the commit that the binary was built from, as far as known.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

// versionText is what `pgapp version` says.
func versionText() string {
	return fmt.Sprintf("pgapp %s (%s, %s/%s)", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// executable is the path to start this program again.
func executable() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding this program's own file: %w", err)
	}
	return path, nil
}
