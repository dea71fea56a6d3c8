package local

import (
	"os"
	"path/filepath"
	"testing"

	"pgapp/appliance"
)

func TestTablespaceFindingWarnsWithoutLandlock(t *testing.T) {
	t.Parallel()
	if f := tablespaceFinding(0); f.Level != appliance.LevelWarn || f.Fix == "" {
		t.Errorf("without Landlock: %+v", f)
	}
	if f := tablespaceFinding(1); f.Level != appliance.LevelPass {
		t.Errorf("with Landlock: %+v", f)
	}
}

// TestRefuseTablespacesChecksPrimary has a standby that was down when
// its primary got a tablespace.
func TestRefuseTablespacesChecksPrimary(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, holder string
		provider     appliance.ProviderKind
		location     string
		refused      bool
	}{
		{"primary", "node0", appliance.ProviderLocal, "/space", true},
		{"itself", "node1", appliance.ProviderLocal, "/space", true},
		{"in place", "node0", appliance.ProviderLocal, "", false},
		{"another standby", "node2", appliance.ProviderLocal, "/space", false},
		{"machines of their own", "node0", appliance.ProviderLibvirt, "/space", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := testCluster("node0", "node1", "node2")
			c.Spec.Provider = tc.provider
			p := New(Config{Home: t.TempDir(), TempDir: t.TempDir()})
			for _, m := range c.Members {
				dir := filepath.Join(p.machine(c, m).dir, "data", tablespaceDir)
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				touch(t, filepath.Join(p.machine(c, m).dir, markerFile))
				if m.Name != "node0" {
					touch(t, filepath.Join(p.machine(c, m).dir, "data", "standby.signal"))
				}
				if m.Name != tc.holder {
					continue
				}
				if tc.location == "" {
					if err := os.Mkdir(filepath.Join(dir, "16384"), 0o700); err != nil {
						t.Fatal(err)
					}
				} else if err := os.Symlink(tc.location, filepath.Join(dir, "16384")); err != nil {
					t.Fatal(err)
				}
			}
			err := p.machine(c, c.Members[1]).refuseTablespaces()
			if got := appliance.IsProblem(err, appliance.ErrTablespace); got != tc.refused {
				t.Errorf("refuseTablespaces() = %v, want refused %v", err, tc.refused)
			}
			if err := p.machine(c, c.Members[0]).refuseTablespaces(); err != nil {
				t.Errorf("the primary: %v", err)
			}
		})
	}
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}
