package ssh

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"pgapp/appliance"
)

// GenerateKey makes an ed25519 key and returns its private half in OpenSSH's
// format. It serves as a user's key and as a host's.
func GenerateKey(comment string) (appliance.Secret, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return appliance.Secret{}, fmt.Errorf("generating an ed25519 key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return appliance.Secret{}, fmt.Errorf("encoding an ed25519 key: %w", err)
	}
	return appliance.NewSecret(string(pem.EncodeToMemory(block))), nil
}

// PublicKey returns the public half of a private key in OpenSSH's format, as
// a line of authorized_keys without comment and line end.
func PublicKey(private appliance.Secret) (string, error) {
	signer, err := parsePrivate(private)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), nil
}

// parsePrivate keeps the key out of its error.
func parsePrivate(private appliance.Secret) (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey([]byte(private.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("reading a private key of %d bytes: not an unencrypted OpenSSH key", len(private.Reveal()))
	}
	return signer, nil
}

func parsePublic(line string) (ssh.PublicKey, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return nil, fmt.Errorf("reading a public key: %w", err)
	}
	return key, nil
}
