package libvirt

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"testing"
)

func TestMakeDirKeepsExistingDirectory(t *testing.T) {
	t.Parallel()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	top := t.TempDir()
	full, file := filepath.Join(top, "full"), filepath.Join(top, "file")
	empty := filepath.Join(top, "empty $(dir)")
	for _, d := range []string{filepath.Join(full, "in"), empty} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, said string
		mode       os.FileMode
	}{
		{filepath.Join(top, "new parent", "new 'dir'"), "made\n", os.ModeDir | 0o700},
		{empty, "\n", os.ModeDir | 0o700},
		{full, "", os.ModeDir | 0o755},
		{file, "", 0o644},
	} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", makeDirScript, "sh", c.path, me.Username).CombinedOutput()
		if err != nil || string(out) != c.said {
			t.Errorf("%s: %q %v", c.path, out, err)
		}
		if st, err := os.Lstat(c.path); err != nil || st.Mode() != c.mode {
			t.Errorf("%s: %v %v", c.path, st.Mode(), err)
		}
	}
}
