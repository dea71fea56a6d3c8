package api

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"pgapp/appliance"
)

// fakeTokens keeps tokens beside the fake's own.
type fakeTokens struct {
	f    *fake
	mu   sync.Mutex
	list []Token
	hash map[string][32]byte
}

func (a *fakeTokens) CreateToken(_ context.Context, name, scope string, hash [32]byte) (Token, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.hash[name]; ok {
		return Token{}, appliance.NewProblem(appliance.ErrConflict, "there is a token %q", name)
	}
	t := Token{Name: name, Scope: scope, CreatedAt: time.Now()}
	a.list, a.hash[name] = append(a.list, t), hash
	a.f.mu.Lock()
	defer a.f.mu.Unlock()
	a.f.tokens[hash] = scope
	return t, nil
}

func (a *fakeTokens) ListTokens(context.Context) ([]Token, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.list, nil
}

func (a *fakeTokens) RevokeToken(_ context.Context, name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	hash, ok := a.hash[name]
	if !ok {
		return appliance.NewProblem(appliance.ErrNotFound, "there is no token %q", name)
	}
	delete(a.hash, name)
	a.f.mu.Lock()
	defer a.f.mu.Unlock()
	delete(a.f.tokens, hash)
	return nil
}

func TestTokenIsMadeListedAndRevoked(t *testing.T) {
	t.Parallel()
	f := newFake()
	d := start(t, f, func(c *Config) { c.TokenAdmin = &fakeTokens{f: f, hash: map[string][32]byte{}} })
	ctx := t.Context()
	made, err := d.unix.CreateToken(ctx, "monitoring", ScopeRead)
	if err != nil || len(made.Secret) < 43 || made.Scope != ScopeRead {
		t.Fatalf("CreateToken = %+v, %v", made, err)
	}
	bearer := http.Header{"Authorization": {"Bearer " + made.Secret}}
	request(t, d, "GET", "/api/v1/clusters", "", bearer, 200, "")
	request(t, d, "GET", "/api/v1/tokens", "", bearer, 403, appliance.ErrForbidden)
	request(t, d, "POST", "/api/v1/tokens", `{"name":"mine","scope":"admin"}`, bearer, 403, appliance.ErrForbidden)
	request(t, d, "DELETE", "/api/v1/tokens/monitoring", "", bearer, 403, appliance.ErrForbidden)
	if _, err := d.unix.CreateToken(ctx, "monitoring", ScopeAdmin); !appliance.IsProblem(err, appliance.ErrConflict) {
		t.Errorf("a second of that name: %v", err)
	}
	for _, bad := range []string{`{"name":"x"}`, `{"name":"x","scope":"root"}`, `{"name":"../x","scope":"read"}`, `{"name":"x","scope":"read","hash":"00"}`} {
		request(t, d, "POST", "/api/v1/tokens", bad, nil, 422, appliance.ErrInvalidSpec)
	}
	_, list := request(t, d, "GET", "/api/v1/tokens", "", nil, 200, "")
	if l, err := d.tcp.ListTokens(ctx); err != nil || len(l) != 1 || l[0].Name != "monitoring" {
		t.Errorf("ListTokens = %+v, %v (%s)", l, err, list)
	}
	if err := d.unix.RevokeToken(ctx, "monitoring"); err != nil {
		t.Fatal(err)
	}
	request(t, d, "GET", "/api/v1/clusters", "", bearer, 401, appliance.ErrUnauthorised)
	if err := d.unix.RevokeToken(ctx, "monitoring"); !appliance.IsProblem(err, appliance.ErrNotFound) {
		t.Errorf("a second revocation: %v", err)
	}
	plain := start(t, newFake(), nil)
	if _, err := plain.unix.ListTokens(ctx); !appliance.IsProblem(err, appliance.ErrNotFound) {
		t.Errorf("without an administration: %v", err)
	}
}
