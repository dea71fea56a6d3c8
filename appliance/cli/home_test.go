package cli

import (
	"testing"

	"pgapp/appliance"
)

func TestHomeDirRefusesControlCharacters(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"/tmp/a\nb", "/tmp/a\x00b", "/tmp/a\xff", "/tmp/a\u2028b", "/tmp/\x7f"} {
		if _, err := homeDir(dir); !appliance.IsProblem(err, appliance.ErrUsage) {
			t.Errorf("homeDir(%q): %v", dir, err)
		}
	}
	for _, dir := range []string{"/tmp/a b", "/tmp/a,b", "/tmp/é'\"$%\\"} {
		if got, err := homeDir(dir); err != nil || got != dir {
			t.Errorf("homeDir(%q) = %q, %v", dir, got, err)
		}
	}
}
