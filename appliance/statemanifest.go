package appliance

import "time"

// StateManifest is what a backup of pgapp's own state says of itself.
type StateManifest struct {
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
	Parts     []StatePart       `json:"parts"`
}

// StatePart is one of the files in a backup of the state.
type StatePart struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // 64 hexadecimal digits
}
