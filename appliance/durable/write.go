package durable

import (
	"path/filepath"

	"github.com/google/renameio/v2"
)

// secretMode lets only the file's owner read it.
const secretMode = 0o600

// WriteFile gives the file at path (0600) its content: the old one or the new one is
// there whole, also when the process is killed. A repeat is safe.
func WriteFile(path string, data []byte) error {
	return renameio.WriteFile(path, data, secretMode, beside(path)) //nolint:wrapcheck // names the file
}

// NewFile opens a file that takes the name path (0600) once it is whole. The caller
// ends with its Cleanup.
func NewFile(path string) (*renameio.PendingFile, error) {
	return renameio.NewPendingFile(path, renameio.WithStaticPermissions(secretMode), beside(path)) //nolint:wrapcheck // names the file
}

// beside keeps the unfinished file in the directory of the whole one. renameio's own
// choice is the directory for temporary files, where a killed process would leave a
// secret behind.
func beside(path string) renameio.Option { return renameio.WithTempDir(filepath.Dir(path)) }
