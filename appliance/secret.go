package appliance

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
)

// redacted is the text in the place of a secret.
const redacted = "[redacted]"

// Secret is a string that fmt, JSON, YAML and logs don't show. Only
// [Secret.Reveal] returns it.
type Secret struct{ value string }

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{value} }

// GenerateSecret makes a password of 192 random bits: 32 characters of the
// URL-safe base64 alphabet.
func GenerateSecret() Secret {
	var b [24]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never returns an error since Go 1.24
	return Secret{base64.RawURLEncoding.EncodeToString(b[:])}
}

// Reveal returns the value.
func (s Secret) Reveal() string { return s.value }

// Empty tells whether there is no value.
func (s Secret) Empty() bool { return s.value == "" }

// String hides the value.
func (s Secret) String() string { return redacted }

// GoString hides the value.
func (s Secret) GoString() string { return redacted }

// Format hides the value from every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalJSON hides the value.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText hides the value.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue hides the value.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// The keys of [Secrets.Values].
const (
	SecretReplicator = "replicator" // password of the replication role
	SecretRewind     = "rewind"     // password of pg_rewind's role
	SecretControl    = "control"    // password of pgapp's own role
	SecretApp        = "app"        // password of the database's owner
	SecretSSHKey     = "ssh-key"    // OpenSSH private key of the guests' user
	// SecretHostKeyPrefix + member is that guest's OpenSSH host key.
	SecretHostKeyPrefix = "host-key/"
)

// Secrets are the secrets of a cluster.
type Secrets struct{ Values map[string]Secret }

// GenerateSecrets makes the passwords that every cluster needs.
func GenerateSecrets() Secrets {
	s := Secrets{Values: map[string]Secret{}}
	for _, k := range []string{SecretReplicator, SecretRewind, SecretControl, SecretApp} {
		s.Values[k] = GenerateSecret()
	}
	return s
}

// Get returns the secret of that key; it is empty if there is none.
func (s Secrets) Get(key string) Secret { return s.Values[key] }
