package daemon

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/durable"
	"pgapp/appliance/home"
	"pgapp/store"
)

// localToken is the token that the home's own file holds.
const localToken = "local"

// touchEvery is the least pause between two records of a token's use, each of which
// is a write.
const touchEvery = time.Minute

// ensureToken makes the local client's token: the file holds the token, the store
// its hash only. A file that doesn't match is replaced.
func ensureToken(ctx context.Context, st *store.Store, dir string) error {
	path := filepath.Join(dir, home.Token)
	if b, err := os.ReadFile(path); err == nil {
		hash := sha256.Sum256([]byte(strings.TrimSpace(string(b))))
		if _, err := st.TokenByHash(ctx, hash); err == nil {
			return nil
		}
	}
	secret := appliance.GenerateSecret()
	if err := durable.WriteFile(path, []byte(secret.Reveal()+"\n")); err != nil {
		return fmt.Errorf("writing the local client's token: %w", err)
	}
	return st.PutToken(ctx, store.Token{
		ID: localToken, Name: localToken, Scope: store.ScopeAdmin,
		Hash: sha256.Sum256([]byte(secret.Reveal())), CreatedAt: time.Now().UTC(),
	})
}

// tokens lets the API use the store's tokens.
type tokens struct{ st *store.Store }

var (
	_ api.Tokens     = tokens{}
	_ api.TokenAdmin = tokens{}
)

// TokenScope implements api.Tokens, and records the token's use.
func (t tokens) TokenScope(ctx context.Context, hash [32]byte) (string, bool, error) {
	tok, err := t.st.TokenByHash(ctx, hash)
	if appliance.IsProblem(err, appliance.ErrNotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	if now := time.Now().UTC(); now.Sub(tok.LastUsed) > touchEvery {
		// A failure to record the use is no reason to refuse the token.
		_ = t.st.TouchToken(ctx, tok.ID, now)
	}
	return string(tok.Scope), true, nil
}

// CreateToken implements api.TokenAdmin.
func (t tokens) CreateToken(ctx context.Context, name, scope string, hash [32]byte) (api.Token, error) {
	all, err := t.st.Tokens(ctx)
	if err != nil {
		return api.Token{}, err
	}
	for _, old := range all {
		if old.ID == name {
			return api.Token{}, appliance.NewProblem(appliance.ErrConflict, "token %q exists already", name).
				WithHint("choose another name, or revoke it first: pgapp token revoke %s", name)
		}
	}
	tok := store.Token{ID: name, Name: name, Scope: store.Scope(scope), Hash: hash, CreatedAt: time.Now().UTC()}
	return wireToken(tok), t.st.PutToken(ctx, tok)
}

// ListTokens implements api.TokenAdmin.
func (t tokens) ListTokens(ctx context.Context) ([]api.Token, error) {
	all, err := t.st.Tokens(ctx)
	out := make([]api.Token, 0, len(all))
	for _, tok := range all {
		out = append(out, wireToken(tok))
	}
	return out, err
}

// RevokeToken implements api.TokenAdmin.
func (t tokens) RevokeToken(ctx context.Context, name string) error {
	return t.st.DeleteToken(ctx, name)
}

func wireToken(t store.Token) api.Token {
	out := api.Token{Name: t.Name, Scope: string(t.Scope), CreatedAt: t.CreatedAt}
	if !t.LastUsed.IsZero() {
		out.LastUsed = &t.LastUsed
	}
	return out
}
