package store

import (
	"context"
	"crypto/subtle"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"pgapp/appliance"
)

// Scope is the set of a token's rights.
type Scope string

// The scopes.
const (
	ScopeRead  Scope = "read"
	ScopeAdmin Scope = "admin"
)

// Token is an API token. The token itself is never stored, only its hash.
type Token struct {
	ID        string
	Name      string
	Scope     Scope
	Hash      [32]byte // SHA-256 of the token
	CreatedAt time.Time
	LastUsed  time.Time // zero where it never was
}

// storedToken is a token's form in the file.
type storedToken struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Scope     Scope     `json:"scope"`
	Hash      []byte    `json:"hash"`
	CreatedAt time.Time `json:"created_at"`
	LastUsed  time.Time `json:"last_used,omitzero"`
}

func (t storedToken) token() Token {
	out := Token{ID: t.ID, Name: t.Name, Scope: t.Scope, CreatedAt: t.CreatedAt, LastUsed: t.LastUsed}
	copy(out.Hash[:], t.Hash)
	return out
}

// PutToken stores the token and replaces one with the same id. To note its use,
// call [Store.TouchToken], which can't restore a token that was deleted meanwhile.
func (s *Store) PutToken(ctx context.Context, t Token) error {
	if t.ID == "" || (t.Scope != ScopeRead && t.Scope != ScopeAdmin) {
		return fmt.Errorf("storing token %q: it has no id or the scope %q is unknown", t.ID, t.Scope)
	}
	return s.update(ctx, fmt.Sprintf("storing token %q", t.ID), func(tx *bolt.Tx) error { return putToken(tx, t) })
}

func putToken(tx *bolt.Tx, t Token) error {
	return put(tx, bucketTokens, t.ID, storedToken{
		ID: t.ID, Name: t.Name, Scope: t.Scope, Hash: t.Hash[:], CreatedAt: t.CreatedAt, LastUsed: t.LastUsed,
	})
}

// Tokens returns every token, ordered by id.
func (s *Store) Tokens(ctx context.Context) ([]Token, error) {
	var out []Token
	err := s.view(ctx, "reading the tokens", func(tx *bolt.Tx) error {
		stored, err := list[storedToken](tx, bucketTokens)
		for _, t := range stored {
			out = append(out, t.token())
		}
		return err
	})
	return out, err
}

// DeleteToken removes the token, or returns a problem not-found.
func (s *Store) DeleteToken(ctx context.Context, id string) error {
	return s.update(ctx, fmt.Sprintf("removing token %q", id), func(tx *bolt.Tx) error {
		if _, err := getToken(tx, id); err != nil {
			return err
		}
		return remove(tx, bucketTokens, id)
	})
}

// TouchToken notes when the token was last used, or returns a problem
// not-found. It syncs the disk, so it is not for every request.
func (s *Store) TouchToken(ctx context.Context, id string, used time.Time) error {
	return s.updateShared(ctx, fmt.Sprintf("storing token %q", id), func(tx *bolt.Tx) error {
		t, err := getToken(tx, id)
		if err != nil {
			return err
		}
		t.LastUsed = used
		return putToken(tx, t)
	})
}

// TokenByHash returns the token of that hash, or a problem not-found. It compares
// every token in constant time, so that its duration reveals nothing about the
// hashes.
func (s *Store) TokenByHash(ctx context.Context, hash [32]byte) (Token, error) {
	all, err := s.Tokens(ctx)
	if err != nil {
		return Token{}, err
	}
	found := -1
	for i, t := range all {
		if subtle.ConstantTimeCompare(t.Hash[:], hash[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return Token{}, appliance.NewProblem(appliance.ErrNotFound, "there is no such token")
	}
	return all[found], nil
}

func getToken(tx *bolt.Tx, id string) (Token, error) {
	var t storedToken
	found, err := get(tx, bucketTokens, id, &t)
	if err == nil && !found {
		err = appliance.NewProblem(appliance.ErrNotFound, "there is no token %q", id).
			WithHint("`pgapp token list` shows them")
	}
	return t.token(), err
}
