//go:build integration || e2e

package cli_test

import (
	"testing"

	"pgapp/scripts/build/overlay"
)

// buildEdited builds the program with the edit, as the file out.
func buildEdited(t *testing.T, out string, e overlay.Edit) {
	t.Helper()
	const root = "../.."
	text, err := e.Apply(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := overlay.Build(t.Context(), root, ".", out, map[string]string{e.File: text}); err != nil {
		t.Fatalf("with %q in %s: %v", e.New, e.File, err)
	}
}
