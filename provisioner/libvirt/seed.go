package libvirt

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"time"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	"github.com/goccy/go-yaml"

	"pgapp/appliance"
)

// identity is what cloud-init gives a guest.
type identity struct {
	InstanceID string
	Hostname   string
	MAC        string
	Address    netip.Prefix
	Gateway    netip.Addr
	// UserKey is the public key that may log in, HostKey the guest's own.
	UserKey    string
	HostKey    appliance.Secret
	HostPublic string
}

// seedFiles are the files of a NoCloud seed.
type seedFiles map[string][]byte

// quotedString is always written with quotes: a MAC of digits alone is a
// number to YAML 1.1, which cloud-init reads.
type quotedString string

// MarshalYAML writes a double-quoted scalar.
func (q quotedString) MarshalYAML() ([]byte, error) { return fmt.Appendf(nil, "%q", string(q)), nil }

// documents reads, fills and encodes the documents.
func (id identity) documents(files fs.FS) (seedFiles, error) {
	user := map[string]any{}
	meta := map[string]any{}
	network := map[string]any{}
	for name, to := range map[string]*map[string]any{"user-data": &user, "meta-data": &meta, "network-config": &network} {
		text, err := fs.ReadFile(files, name+".yaml")
		if err != nil {
			return nil, fmt.Errorf("reading the cloud-init document: %w", err)
		}
		if err := yaml.Unmarshal(text, to); err != nil {
			return nil, fmt.Errorf("decoding the cloud-init document %s: %w", name, err)
		}
	}
	if err := id.fill(user, meta, network); err != nil {
		return nil, err
	}
	out := seedFiles{}
	for name, doc := range map[string]map[string]any{"user-data": user, "meta-data": meta, "network-config": network} {
		text, err := yaml.MarshalWithOptions(doc, yaml.UseLiteralStyleIfMultiline(true))
		if err != nil {
			return nil, fmt.Errorf("encoding the cloud-init document %s: %w", name, err)
		}
		out[name] = text
	}
	out["user-data"] = append([]byte("#cloud-config\n"), out["user-data"]...)
	return out, nil
}

func (id identity) fill(user, meta, network map[string]any) error {
	meta["instance-id"] = quotedString(id.InstanceID)
	meta["local-hostname"] = quotedString(id.Hostname)
	user["hostname"] = quotedString(id.Hostname)
	users, ok := user["users"].([]any)
	if !ok || len(users) != 1 {
		return fmt.Errorf("the cloud-init document user-data doesn't have one user")
	}
	account, ok := users[0].(map[string]any)
	if !ok {
		return fmt.Errorf("the user of the cloud-init document user-data is no mapping")
	}
	account["name"] = quotedString(guestUser)
	account["ssh_authorized_keys"] = []quotedString{quotedString(id.UserKey)}
	user["ssh_keys"] = map[string]any{"ed25519_private": id.HostKey.Reveal(), "ed25519_public": quotedString(id.HostPublic)}
	ethernets, ok := network["ethernets"].(map[string]any)
	if !ok {
		return fmt.Errorf("the cloud-init document network-config has no ethernets")
	}
	link, ok := ethernets["primary"].(map[string]any)
	if !ok {
		return fmt.Errorf("the cloud-init document network-config has no link %q", "primary")
	}
	link["match"] = map[string]any{"macaddress": quotedString(id.MAC)}
	link["addresses"] = []quotedString{quotedString(id.Address.String())}
	link["routes"] = []any{map[string]any{"to": quotedString("0.0.0.0/0"), "via": quotedString(id.Gateway.String())}}
	link["nameservers"] = map[string]any{"addresses": []quotedString{quotedString(id.Gateway.String())}}
	return nil
}

const (
	seedLabel = "cidata"
	isoBlock  = 2048
)

// image makes an ISO 9660 image of the files. It goes over files in a private
// directory under dir, which are gone when it returns.
func (f seedFiles) image(dir string) (img []byte, err error) {
	work, err := os.MkdirTemp(dir, "seed-")
	if err != nil {
		return nil, fmt.Errorf("making a seed: %w", err)
	}
	defer func() {
		if e := os.RemoveAll(work); e != nil && err == nil {
			err = fmt.Errorf("removing a seed's files: %w", e)
		}
	}()
	mem := &memoryDisk{}
	iso, err := iso9660.Create(mem, 0, 0, isoBlock, work)
	if err != nil {
		return nil, fmt.Errorf("making a seed: %w", err)
	}
	for name, data := range f {
		if err := os.WriteFile(work+"/"+name, data, 0o600); err != nil {
			return nil, fmt.Errorf("making a seed: %w", err)
		}
	}
	if err := iso.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: seedLabel}); err != nil {
		return nil, fmt.Errorf("making a seed: %w", err)
	}
	// A disk is made of whole sectors, a CD of larger ones.
	if over := len(mem.data) % isoBlock; over != 0 {
		mem.data = append(mem.data, make([]byte, isoBlock-over)...)
	}
	return mem.data, nil
}

// memoryDisk is a disk in memory, so that the image with the keys is never
// written to a file.
type memoryDisk struct {
	data []byte
	at   int64
}

var _ backend.Storage = (*memoryDisk)(nil)

func (m *memoryDisk) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.data).ReadAt(p, off)
}

func (m *memoryDisk) WriteAt(p []byte, off int64) (int, error) {
	if end := off + int64(len(p)); end > int64(len(m.data)) {
		m.data = append(m.data, make([]byte, end-int64(len(m.data)))...)
	}
	return copy(m.data[off:], p), nil
}

func (m *memoryDisk) Read(p []byte) (int, error) {
	n, err := m.ReadAt(p, m.at)
	m.at += int64(n)
	return n, err
}

func (m *memoryDisk) Seek(offset int64, whence int) (int64, error) {
	r := bytes.NewReader(m.data)
	if _, err := r.Seek(m.at, 0); err != nil {
		return 0, err
	}
	at, err := r.Seek(offset, whence)
	m.at = at
	return at, err
}

func (m *memoryDisk) Close() error                            { return nil }
func (m *memoryDisk) Sys() (*os.File, error)                  { return nil, backend.ErrNotSuitable }
func (m *memoryDisk) Writable() (backend.WritableFile, error) { return m, nil }
func (m *memoryDisk) Path() string                            { return "" }
func (m *memoryDisk) Stat() (fs.FileInfo, error)              { return memoryInfo{int64(len(m.data))}, nil }

// memoryInfo describes a memoryDisk.
type memoryInfo struct{ size int64 }

func (i memoryInfo) Name() string       { return seedLabel }
func (i memoryInfo) Size() int64        { return i.size }
func (i memoryInfo) Mode() fs.FileMode  { return 0o600 }
func (i memoryInfo) ModTime() time.Time { return time.Time{} }
func (i memoryInfo) IsDir() bool        { return false }
func (i memoryInfo) Sys() any           { return nil }
