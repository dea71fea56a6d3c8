package program

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

// Version is the version that the build gave this program.
func Version() string { return version }

// BuildID tells this build from every other: the identifier that Go's linker
// derives from all that went into the binary (section .note.go.buildid).
func BuildID() string {
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		return Revision()
	}
	defer func() { _ = f.Close() }()
	s := f.Section(".note.go.buildid")
	if s == nil {
		return Revision()
	}
	data, err := s.Data()
	// An ELF note: three 4-byte words, the name "Go\0\0", then the text.
	const header = 16
	if err != nil || len(data) <= header {
		return Revision()
	}
	return string(bytes.TrimRight(data[header:], "\x00"))
}

// Revision is the commit that the binary was built from, as far as known.
func Revision() string {
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

// VersionText is what `pgapp version` says.
func VersionText() string {
	return fmt.Sprintf("pgapp %s (%s, %s/%s)", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// Executable is the path to start this program again.
func Executable() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding this program's own file: %w", err)
	}
	return path, nil
}

// CheckFileCommand is a hidden command below state: it checks one file of a
// state in a process of its own.
const CheckFileCommand = "check-file"

// EndpointCommand is the hidden command that runs the process behind a home's endpoints.
const EndpointCommand = "endpoint-process"
