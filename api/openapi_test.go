package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write openapi.json anew")

// openapi.json is what clients in other languages are made from. Regenerate it
// with: go test ./api -run OpenAPI -update
func TestOpenAPIFileIsCurrent(t *testing.T) {
	t.Parallel()
	got := New(Config{}).openAPI
	if *update {
		if err := os.WriteFile("openapi.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("openapi.json differs from the code; run: go test ./api -run OpenAPI -update")
	}
}

func TestOpenAPIDescribesTheContract(t *testing.T) {
	t.Parallel()
	var doc struct {
		OpenAPI    string                                `json:"openapi"`
		Paths      map[string]map[string]json.RawMessage `json:"paths"`
		Components struct {
			Schemas map[string]json.RawMessage `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(New(Config{}).openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("openapi is %q", doc.OpenAPI)
	}
	for _, route := range []string{
		"get /api/v1/clusters", "post /api/v1/clusters",
		"get /api/v1/clusters/{cluster}", "put /api/v1/clusters/{cluster}", "delete /api/v1/clusters/{cluster}",
		"post /api/v1/clusters/{cluster}/verify", "post /api/v1/clusters/{cluster}/stop",
		"post /api/v1/clusters/{cluster}/start", "post /api/v1/clusters/{cluster}/restart",
		"get /api/v1/clusters/{cluster}/members", "get /api/v1/clusters/{cluster}/connection", "get /api/v1/clusters/{cluster}/logs",
		"post /api/v1/clusters/{cluster}/members/{member}/reinit", "post /api/v1/clusters/{cluster}/members/{member}/restart",
		"post /api/v1/clusters/{cluster}/members/{member}/stop", "post /api/v1/clusters/{cluster}/members/{member}/start",
		"get /api/v1/operations", "get /api/v1/operations/{id}", "delete /api/v1/operations/{id}", "get /api/v1/operations/{id}/events",
		"get /api/v1/info", "get /api/v1/logs", "post /api/v1/shutdown", "get /livez", "get /readyz", "get /openapi.json",
		"get /health/{cluster}/{member}/{check}", "head /health/{cluster}/{member}/{check}", "options /health/{cluster}/{member}/{check}",
	} {
		method, path, _ := strings.Cut(route, " ")
		if doc.Paths[path][method] == nil {
			t.Errorf("%s is not described", route)
		}
	}
	for _, name := range []string{"ErrorModel", "ErrorDetail"} {
		if doc.Components.Schemas[name] != nil {
			t.Errorf("schema %s describes an error that is never sent", name)
		}
	}
	if s := string(doc.Components.Schemas["Spec"]); !strings.Contains(s, `"additionalProperties":false`) && !strings.Contains(s, `"additionalProperties": false`) {
		t.Errorf("unknown fields of a spec are allowed: %s", s)
	}
}
