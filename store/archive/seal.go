package archive

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"

	"pgapp/appliance"
)

// Seal says how an archive is sealed. The zero value is refused, so that nothing
// is written in plain text by omission.
type Seal struct {
	plain      bool
	passphrase appliance.Secret
	recipients []string
	logN       int // 0 means age's own
}

// WithPassphrase seals by a passphrase (scrypt: about a second and 256 MiB of
// memory, once).
func WithPassphrase(p appliance.Secret) Seal { return Seal{passphrase: p} }

// ForRecipients seals to age's public keys, "age1…". Whoever has one of their
// identities can open it.
func ForRecipients(recipients ...string) Seal { return Seal{recipients: recipients} }

// Plaintext seals nothing: the archive shows every secret.
func Plaintext() Seal { return Seal{plain: true} }

// wrap returns a writer whose bytes reach w sealed; Close ends the archive.
func (s Seal) wrap(w io.Writer) (io.WriteCloser, error) {
	if s.plain {
		return nopCloser{w}, nil
	}
	recipients, err := s.parse()
	if err != nil {
		return nil, err
	}
	out, err := age.Encrypt(w, recipients...)
	if err != nil {
		return nil, fmt.Errorf("sealing the archive: %w", err)
	}
	return out, nil
}

func (s Seal) parse() ([]age.Recipient, error) {
	if !s.passphrase.Empty() {
		if len(s.recipients) > 0 {
			return nil, appliance.NewProblem(appliance.ErrUsage, "an archive is sealed by a passphrase or to recipients, not both")
		}
		r, err := age.NewScryptRecipient(s.passphrase.Reveal())
		if err != nil {
			return nil, fmt.Errorf("sealing by a passphrase: %w", err)
		}
		if s.logN != 0 {
			r.SetWorkFactor(s.logN)
		}
		return []age.Recipient{r}, nil
	}
	if len(s.recipients) == 0 {
		return nil, appliance.NewProblem(appliance.ErrUsage, "no passphrase and no recipient to seal the archive with").
			WithHint("give --recipient or --passphrase-file; or --plaintext, which shows every secret")
	}
	var out []age.Recipient
	for _, text := range s.recipients {
		// A private key given by mistake must not show in the error.
		rs, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil {
			return nil, appliance.NewProblem(appliance.ErrUsage, "a recipient is not one of age's public keys: %w", err).
				WithHint("a recipient begins with age1; `age-keygen` makes one")
		}
		out = append(out, rs...)
	}
	return out, nil
}

type nopCloser struct{ io.Writer }

// Close does nothing.
func (nopCloser) Close() error { return nil }

// Keys open an archive.
type Keys struct {
	// Passphrase opens one sealed by it.
	Passphrase appliance.Secret
	// Identities is the text of an age identity file: lines of
	// AGE-SECRET-KEY-1…, and comments.
	Identities appliance.Secret
}

func (k Keys) parse(lim Limits) ([]age.Identity, error) {
	var out []age.Identity
	if !k.Passphrase.Empty() {
		id, err := age.NewScryptIdentity(k.Passphrase.Reveal())
		if err != nil {
			return nil, fmt.Errorf("taking the passphrase: %w", err)
		}
		id.SetMaxWorkFactor(lim.ScryptLogN)
		out = append(out, id)
	}
	if !k.Identities.Empty() {
		ids, err := age.ParseIdentities(strings.NewReader(k.Identities.Reveal()))
		if err != nil {
			return nil, appliance.NewProblem(ErrKey, "the identity file can't be used: %w", err).
				WithHint("it holds lines that begin with AGE-SECRET-KEY-1")
		}
		out = append(out, ids...)
	}
	if len(out) == 0 {
		return nil, appliance.NewProblem(ErrKey, "the archive is sealed, and there is no key to open it").
			WithHint("give --identity-file FILE or --passphrase-file FILE")
	}
	return out, nil
}

// unseal returns the plain bytes of an age file.
func (k Keys) unseal(r io.Reader, lim Limits) (io.Reader, error) {
	ids, err := k.parse(lim)
	if err != nil {
		return nil, err
	}
	plain, err := age.Decrypt(r, ids...)
	var none *age.NoIdentityMatchError
	switch {
	case err == nil:
		return plain, nil
	case errors.As(err, &none):
		return nil, appliance.NewProblem(ErrKey, "none of the given keys opens the archive").
			WithHint("give the passphrase or identity that it was sealed for")
	case strings.Contains(err.Error(), "work factor too large"):
		return nil, invalid("opening it would cost too much work: %w", err)
	}
	return nil, invalid("its seal is broken: %w", err)
}

// NewIdentity makes an age key pair: the identity, a line for an identity
// file, and the recipient that belongs to it.
func NewIdentity() (identity appliance.Secret, recipient string, err error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return appliance.Secret{}, "", fmt.Errorf("making an age identity: %w", err)
	}
	return appliance.NewSecret(id.String()), id.Recipient().String(), nil
}
