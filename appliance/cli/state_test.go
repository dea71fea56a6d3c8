package cli

import (
	"os"
	"path/filepath"
	"testing"

	"pgapp/appliance"
)

func TestReadPassphrase(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"sesame\n", "sesame"},
		{"two words", "two words"},
		{"windows\r\n", "windows"},
		{"ünïcode\n\n", "ünïcode"},
		{"", ""},
		{"\n", ""},
		{" leading", ""},
		{"trailing ", ""},
		{"one\ntwo\n", ""},
		{"tab\there", ""},
		{"nul\x00", ""},
	} {
		path := filepath.Join(t.TempDir(), "pass")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readPassphrase(path)
		if got.Reveal() != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q: got %q, %v", c.text, got.Reveal(), err)
		}
		if err != nil && !appliance.IsProblem(err, appliance.ErrUsage) {
			t.Errorf("%q: %v is no usage error", c.text, err)
		}
	}
}

// TestReadIdentityFile takes age's own files, comments included, and nothing else.
func TestReadIdentityFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	const key = "AGE-SECRET-KEY-1QQQ"
	for text, want := range map[string]string{
		"# public key: age1...\n" + key + "\n": key, key + "\n\n" + key + "\n": key + "," + key, "no key\n": "", "": "",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, ids, err := keyFlags{identity: path}.read()
		if ids.Reveal() != want || (want == "") != appliance.IsProblem(err, appliance.ErrUsage) {
			t.Errorf("%q: got %q, %v", text, ids.Reveal(), err)
		}
	}
}
