package postgres

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"pgapp/appliance"
)

const (
	scramIterations = 4096 // PostgreSQL's scram_iterations
	scramSaltBytes  = 16
)

// ScramVerifier computes the verifier that PostgreSQL stores for a password (RFC
// 5803), so that the password itself is never sent. The password must be ASCII,
// which SASLprep leaves unchanged.
func ScramVerifier(password appliance.Secret, salt []byte) string {
	salted, err := pbkdf2.Key(sha256.New, password.Reveal(), salt, scramIterations, sha256.Size)
	if err != nil {
		// Only key lengths and hashes that FIPS mode forbids are errors.
		panic(fmt.Sprintf("postgres: PBKDF2 with SHA-256: %v", err))
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", scramIterations, b64(salt), b64(stored[:]), b64(mac("Server Key")))
}

func newSalt() []byte {
	salt := make([]byte, scramSaltBytes)
	_, _ = rand.Read(salt) // never returns an error since Go 1.24
	return salt
}
