package tree

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestLocaleEnv(t *testing.T) {
	t.Parallel()
	binDir := "/home/x/trees/17.12-0/" + binPath
	for _, c := range []struct {
		has  string
		want []string
	}{
		{"C.utf8/LC_CTYPE", nil},
		{"C.UTF-8/LC_CTYPE", nil},
		{"en_US.utf8/LC_CTYPE", []string{"LOCPATH=/home/x/trees/17.12-0/usr/lib/locale:HOST"}},
	} {
		host := t.TempDir()
		file := filepath.Join(host, c.has)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		want := slices.Clone(c.want)
		for i := range want {
			want[i] = want[i][:len(want[i])-len("HOST")] + host
		}
		if got := localeEnv(binDir, host); !slices.Equal(got, want) {
			t.Errorf("host with %s: got %q, want %q", c.has, got, want)
		}
	}
}
