// Package home names what lies in a home, for the command line and the daemon
// alike, and makes one.
package home

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"pgapp/appliance"
)

// Names within the home (DESIGN's contract).
const (
	// Lock is held by the daemon; whoever made it owns the home.
	Lock   = "pgapp.lock"
	Socket = "pgapp.sock"
	Log    = "pgapp.log"
	// Token is the local client's own.
	Token = "token"
	// ClientDir holds the password files that `url` and `psql` name.
	ClientDir = "client"
	// BinariesDir holds the unpacked PostgreSQL tree.
	BinariesDir = "postgres"
	// ImagesDir holds fetched images, and below it seeds under way.
	ImagesDir = "images"
	// TLSDir holds the API's CA and certificate.
	TLSDir = "tls"
	// BackupsDir holds the automatic backups of the state.
	BackupsDir = "backups"
	// BackupKey is the age identity that they are sealed to.
	BackupKey = "backup.key"
	// BenchesDir holds what pgapp bench has measured.
	BenchesDir = "benches"
	// SQLDir holds SQL that clients have sent, by cluster, until it is loaded.
	SQLDir = "sql"
)

// SQLPath is where SQL that a client sends for the cluster is kept by that name.
func SQLPath(dir, cluster, name string) string { return filepath.Join(dir, SQLDir, cluster, name) }

// maxSocketPath is what the kernel takes for the path of a socket, without the
// closing zero (unix(7)).
const maxSocketPath = 107

// checkPath refuses a home whose socket's path is too long, and a new home whose
// path the shell would expand: PostgreSQL's programs quote the paths of others with
// double quotes only (find_other_exec).
func checkPath(dir string) error {
	_, err := os.Lstat(filepath.Join(dir, Lock))
	if strings.ContainsAny(dir, "\"$`\\") && err != nil {
		return appliance.NewProblem(appliance.ErrHomeUnusable, "the home's path holds one of the characters \" $ ` \\, which initdb can't work below: %s", dir).
			WithHint("choose another with --home DIR")
	}
	longest := maxSocketPath - len("/"+Socket)
	if len(dir) <= longest {
		return nil
	}
	return appliance.NewProblem(appliance.ErrHomeUnusable, "the home's path has %d bytes; with more than %d the kernel refuses its socket %s: %s", len(dir), longest, Socket, dir).
		WithHint("choose a shorter one with --home DIR; a symbolic link to the directory will do")
}

// Make creates the home: others may pass through it to the members' data,
// which as root belongs to another user, but can't list it.
func Make(dir string) error {
	if err := checkPath(dir); err != nil {
		return err
	}
	err := os.MkdirAll(dir, 0o711)
	if err == nil {
		var st os.FileInfo
		if st, err = os.Stat(dir); err == nil && !st.IsDir() {
			err = errors.New("it is not a directory")
		}
	}
	if err != nil {
		p := appliance.AsProblem(err)
		id := p.ID
		if id == appliance.ErrInternal {
			id = appliance.ErrHomeUnusable
		}
		return appliance.NewProblem(id, "using the home %s: %w", dir, err).WithHint("choose another directory with --home DIR")
	}
	return nil
}
