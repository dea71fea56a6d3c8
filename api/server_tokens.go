package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"pgapp/appliance"
)

// tokenPrefix lets secret scanners recognise a token.
const tokenPrefix = "pgapp_"

// TokenRequest asks for a token.
type TokenRequest struct {
	Name  string `json:"name" maxLength:"40" pattern:"^[a-z]([a-z0-9-]*[a-z0-9])?$" patternDescription:"a name: a-z, 0-9 and -, starting with a letter, not ending in -" doc:"what to call it" example:"monitoring"`
	Scope string `json:"scope" enum:"read,admin" doc:"read: GET only, no passwords; admin: everything"`
}

// NewToken is a new token with its secret.
type NewToken struct {
	Token
	// Secret is the token itself, to be sent as Authorization: Bearer.
	Secret string `json:"token" yaml:"token" doc:"the token itself, shown only now"`
}

// registerTokens adds the routes that list, make and revoke tokens.
func (s *Server) registerTokens(api *routes) {
	type none struct{}
	route(api, huma.Operation{
		OperationID: "list-tokens", Method: http.MethodGet, Path: base + "/tokens", Summary: "List the tokens (scope admin)",
	}, attributes{access: admins}, func(ctx context.Context, _ *none) (*bodyOutput[[]Token], error) {
		admin, err := s.tokenAdmin()
		if err != nil {
			return nil, err
		}
		l, err := admin.ListTokens(ctx)
		return &bodyOutput[[]Token]{list(l)}, err
	})
	type createInput struct{ Body TokenRequest }
	route(api, huma.Operation{
		OperationID: "create-token", Method: http.MethodPost, Path: base + "/tokens",
		Summary: "Make a token; it is shown in this answer only", DefaultStatus: http.StatusCreated,
	}, attributes{access: admins, body: wholeBody}, func(ctx context.Context, in *createInput) (*bodyOutput[NewToken], error) {
		admin, err := s.tokenAdmin()
		if err != nil {
			return nil, err
		}
		var b [32]byte
		_, _ = rand.Read(b[:]) // crypto/rand.Read never returns an error since Go 1.24
		secret := tokenPrefix + base64.RawURLEncoding.EncodeToString(b[:])
		t, err := admin.CreateToken(ctx, in.Body.Name, in.Body.Scope, sha256.Sum256([]byte(secret)))
		return &bodyOutput[NewToken]{NewToken{t, secret}}, err
	})
	type revokeInput struct {
		Name string `path:"name" maxLength:"40" pattern:"^[a-z]([a-z0-9-]*[a-z0-9])?$" patternDescription:"a token's name" doc:"token name"`
	}
	route(api, huma.Operation{
		OperationID: "revoke-token", Method: http.MethodDelete, Path: base + "/tokens/{name}",
		Summary: "Make a token worthless", DefaultStatus: http.StatusNoContent,
	}, attributes{access: admins}, func(ctx context.Context, in *revokeInput) (*struct{}, error) {
		admin, err := s.tokenAdmin()
		if err != nil {
			return nil, err
		}
		return nil, admin.RevokeToken(ctx, in.Name)
	})
}

func (s *Server) tokenAdmin() (TokenAdmin, error) {
	if s.cfg.TokenAdmin == nil {
		return nil, appliance.NewProblem(appliance.ErrNotFound, "this daemon's tokens can't be managed through its API")
	}
	return s.cfg.TokenAdmin, nil
}
