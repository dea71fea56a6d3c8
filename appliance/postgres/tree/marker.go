package tree

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	markerName = ".complete"
	bootIDPath = "/proc/sys/kernel/random/boot_id"
)

// marker is the last file written into a tree, and marks the tree as complete.
type marker struct {
	// SHA256 is the archive's.
	SHA256 string `json:"sha256"`
	// Dir is the tree's path, which its programs contain.
	Dir string `json:"dir"`
	// BootID is the boot in which the contents were last written or read. Files
	// that were written shortly before a power cut can come back empty.
	BootID string `json:"boot_id"`
	// Files are the regular files.
	Files map[string]fileSum `json:"files"`
}

// bootID returns "" if the kernel has no boot id; then contents are read at each
// start.
func bootID() string {
	raw, err := os.ReadFile(bootIDPath)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

func writeMarker(root *os.Root, m Manifest, final string, sums map[string]fileSum) error {
	raw, err := json.Marshal(marker{SHA256: m.SHA256, Dir: final, BootID: bootID(), Files: sums})
	if err != nil {
		return fmt.Errorf("writing %q: %w", markerName, err)
	}
	return root.WriteFile(markerName, raw, 0o644)
}

// intact tells whether the tree at dir is complete, unpacked for dir, and
// undamaged. It compares the files' sizes always, their contents once a boot.
func intact(dir string, m Manifest) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	raw, err := root.ReadFile(markerName)
	if err != nil {
		return err
	}
	var have marker
	if err := json.Unmarshal(raw, &have); err != nil {
		return fmt.Errorf("reading %q: %w", markerName, err)
	}
	if have.SHA256 != m.SHA256 || have.Dir != dir {
		return errors.New("the tree is from another archive or was moved")
	}
	boot := bootID()
	sameBoot := boot != "" && boot == have.BootID
	buffer := make([]byte, 256<<10)
	for name, want := range have.Files {
		if err := intactFile(root, name, want, sameBoot, buffer); err != nil {
			return err
		}
	}
	if _, ok := have.Files[binPath+"/postgres"]; !ok {
		return errors.New("the tree holds no PostgreSQL")
	}
	if !sameBoot {
		noteBoot(dir, have, boot)
	}
	return nil
}

func intactFile(root *os.Root, name string, want fileSum, sizeOnly bool, buffer []byte) (err error) {
	if sizeOnly {
		info, err := root.Lstat(name)
		if err == nil && (!info.Mode().IsRegular() || info.Size() != want.Size) {
			err = fmt.Errorf("%q is damaged", name)
		}
		return err
	}
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if got, err := sumFile(f, buffer); err != nil || got != want {
		return errors.Join(fmt.Errorf("%q is damaged", name), err)
	}
	return nil
}

// noteBoot records the boot, so that the contents need not be read again. A
// failure, as in another user's tree, costs only time.
func noteBoot(dir string, have marker, boot string) {
	have.BootID = boot
	raw, err := json.Marshal(have)
	if err != nil {
		return
	}
	temp, err := os.CreateTemp(dir, markerName+"-")
	if err != nil {
		return
	}
	_, err = temp.Write(raw)
	err = errors.Join(err, temp.Chmod(0o644), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), filepath.Join(dir, markerName))
	}
	if err != nil {
		_ = os.Remove(temp.Name())
	}
}
