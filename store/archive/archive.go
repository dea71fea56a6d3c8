// Package archive seals a copy of pgapp's state into one file, and opens such a
// file, which is treated as hostile until every check has passed. Two plain tools
// open the format too: `age -d FILE | tar -xf -`. DESIGN.md of store/ has the
// reasons.
package archive

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"pgapp/appliance"
	"pgapp/store"
)

// Format is the format of archives that this build writes and reads.
const Format = 1

// The names inside of the archive.
const (
	// ManifestName is the first entry.
	ManifestName = "manifest.json"
	// StateName is the database, which every archive holds.
	StateName = store.FileName
)

// The error ids of archives.
const (
	// ErrInvalid is an archive that is cut off, altered or never was one.
	ErrInvalid = appliance.ErrArchiveInvalid
	// ErrKey is a wrong or missing passphrase or identity.
	ErrKey = appliance.ErrArchiveKey
	// ErrForeign is the state of another instance.
	ErrForeign = appliance.ErrArchiveForeign
	// ErrOlder is a state from before the primary changed.
	ErrOlder = appliance.ErrArchiveOlder
)

// Manifest says what an archive holds. It is the first entry, so that nothing
// is unpacked that it doesn't announce.
type Manifest struct {
	Format       int    `json:"format"`
	PgappVersion string `json:"pgapp_version"`
	// SchemaVersion is the database's.
	SchemaVersion int `json:"schema_version"`
	// Instance is the UUID of the home that it was taken from.
	Instance string `json:"instance"`
	// Epoch is the highest of Epochs.
	Epoch uint64 `json:"epoch"`
	// Epochs are the clusters' epochs by the clusters' UUIDs.
	Epochs    map[string]uint64 `json:"epochs"`
	CreatedAt time.Time         `json:"created_at"`
	Parts     []Part            `json:"parts"`
}

// Part is one of the entries after the manifest.
type Part struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // 64 hexadecimal digits
}

// Limits bound the cost of reading an archive. The zero value means
// [DefaultLimits].
type Limits struct {
	// ArchiveBytes is the file as it comes in.
	ArchiveBytes int64
	// PartBytes is one part, TotalBytes all of them.
	PartBytes  int64
	TotalBytes int64
	// Parts is the number of parts.
	Parts int
	// ScryptLogN bounds the work of a passphrase: 2^n × 1 KiB of memory.
	ScryptLogN int
}

// DefaultLimits are far beyond the size of any state.
func DefaultLimits() Limits {
	return Limits{ArchiveBytes: 1 << 30, PartBytes: 512 << 20, TotalBytes: 1 << 30, Parts: 16, ScryptLogN: 20}
}

const maxManifestBytes = 1 << 20

// partName allows names that mean a file in one directory on any system.
func partName() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`) }

// parseManifest decodes a manifest and checks the limits.
func parseManifest(b []byte, lim Limits) (Manifest, error) {
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return Manifest{}, invalid("its manifest can't be read: %w", err)
	}
	if version.Format > Format {
		return Manifest{}, appliance.NewProblem(appliance.ErrStoreNewer, "the archive has format %d, this pgapp knows %d: a newer pgapp wrote it",
			version.Format, Format).WithHint("use the newer pgapp")
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return Manifest{}, invalid("its manifest can't be read: %w", err)
	}
	if m.Format < 1 || m.SchemaVersion < 1 || m.Instance == "" {
		return Manifest{}, invalid("its manifest says format %d, schema %d, instance %q", m.Format, m.SchemaVersion, m.Instance)
	}
	if m.SchemaVersion > store.SchemaVersion {
		return Manifest{}, appliance.NewProblem(appliance.ErrStoreNewer, "the archive has schema version %d, this pgapp knows %d: a newer pgapp wrote it",
			m.SchemaVersion, store.SchemaVersion).WithHint("use the newer pgapp")
	}
	return m, checkParts(m.Parts, lim)
}

func checkParts(parts []Part, lim Limits) error {
	if len(parts) > lim.Parts {
		return invalid("it announces %d parts, more than %d", len(parts), lim.Parts)
	}
	seen := map[string]bool{ManifestName: true}
	var total int64
	for _, p := range parts {
		switch {
		case !partName().MatchString(p.Name):
			return invalid("the name %q of a part isn't allowed", p.Name)
		case seen[p.Name]:
			return invalid("it announces %q twice", p.Name)
		case p.Size < 0 || p.Size > lim.PartBytes || p.Size > lim.TotalBytes-total:
			return invalid("it announces %d bytes of %q, which is too much", p.Size, p.Name)
		case len(p.SHA256) != 64:
			return invalid("it announces no SHA-256 of %q", p.Name)
		}
		seen[p.Name] = true
		total += p.Size
	}
	if !seen[StateName] {
		return invalid("it announces no %s", StateName)
	}
	return nil
}

// Accept tells whether the archive may replace the living state, which is nil if
// it is damaged or missing. An archive of another instance is refused unless adopt
// is set; one from before a change of primary is always refused.
func (m Manifest) Accept(living *store.Info, adopt bool) error {
	if living == nil {
		return nil
	}
	if m.Instance != living.Instance && !adopt {
		return appliance.NewProblem(ErrForeign, "the archive is of another instance: %s, this home is %s", m.Instance, living.Instance).
			WithHint("to take it over nevertheless, add --adopt")
	}
	for id, epoch := range living.Epochs {
		if old, ok := m.Epochs[id]; ok && old < epoch {
			return appliance.NewProblem(ErrOlder, "the archive is from before the primary of cluster %s changed: epoch %d, now it is %d", id, old, epoch).
				WithHint("take a newer backup: this one would bring back the old primary")
		}
	}
	return nil
}

// matches compares the manifest with what the database itself says.
func (m Manifest) matches(ctx context.Context, path string) error {
	info, err := store.Peek(ctx, path)
	if err != nil {
		return fmt.Errorf("looking at the archive's %s: %w", StateName, err)
	}
	if info.Schema != m.SchemaVersion || info.Instance != m.Instance {
		return invalid("its manifest says schema %d of instance %s, its database schema %d of %s",
			m.SchemaVersion, m.Instance, info.Schema, info.Instance)
	}
	if info.Schema != store.SchemaVersion {
		return nil // the epochs of an older schema are read after its migration
	}
	for id, epoch := range info.Epochs {
		if said, ok := m.Epochs[id]; !ok || said != epoch {
			return invalid("its manifest says epoch %d of cluster %s, its database %d", said, id, epoch)
		}
	}
	if len(info.Epochs) != len(m.Epochs) || info.Epoch() != m.Epoch {
		return invalid("its manifest and its database disagree on the clusters")
	}
	return nil
}

func invalid(format string, args ...any) *appliance.Problem {
	err := fmt.Errorf(format, args...)
	return appliance.NewProblem(ErrInvalid, "the archive is not usable: %w", err).
		WithHint("nothing was changed; take another backup")
}
