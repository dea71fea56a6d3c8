package image

import (
	"encoding/hex"
	"hash"
)

// Check is a writer that verifies the digest of the written data.
type Check struct {
	sum  hash.Hash
	want string
}

// NewCheck makes a Check for a digest as in sha256:HEX or sha512:HEX.
func NewCheck(digest string) (*Check, error) {
	sum, want, err := newHash(digest)
	return &Check{sum, want}, err
}

// Write never fails.
func (c *Check) Write(b []byte) (int, error) { return c.sum.Write(b) }

// Err is nil if the written data has the digest, else a Problem with id
// image-digest that names the data.
func (c *Check) Err(what string) error {
	if got := hex.EncodeToString(c.sum.Sum(nil)); got != c.want {
		return wrongDigest(what, c.want, got)
	}
	return nil
}
