package watch

import (
	"os"
	"path/filepath"
	"testing"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// placed is a provider whose members have the data directory.
type placed struct {
	machines
	data string
}

func (p *placed) Machine(appliance.Cluster, appliance.Member) appliance.Machine {
	return placedMachine{data: p.data}
}

type placedMachine struct {
	appliance.Machine
	data string
}

func (m placedMachine) Layout() appliance.Layout { return appliance.Layout{DataDir: m.data} }

// TestLostFilesNeedARefusal looks at data directories with and without tables, of servers
// that refuse new sessions and of servers that say nothing.
func TestLostFilesNeedARefusal(t *testing.T) {
	t.Parallel()
	const refusal = "E\x00\x00\x00\x28SFATAL\x00C3D000\x00Mdatabase is missing\x00\x00"
	const tooMany = "E\x00\x00\x00\x28SFATAL\x00C53300\x00Mtoo many clients..\x00\x00"
	for _, tt := range []struct {
		name, lacks, says string
		placement         appliance.Placement
		want              string
	}{
		{"everything is there", "", refusal, appliance.PlacementLocal, ""},
		{"its tables are missing, and it refuses", "base", refusal, appliance.PlacementLocal, "base"},
		{"its transactions are missing, and it refuses", "pg_xact", refusal, appliance.PlacementLocal, "pg_xact"},
		{"its tables are out of sight, and it has too many clients", "base", tooMany, appliance.PlacementLocal, ""},
		{"its tables are missing, and nobody answers", "base", "", appliance.PlacementLocal, ""},
		{"a machine of its own", "base", refusal, appliance.PlacementVM, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			for _, part := range postgres.Essential() {
				if part == tt.lacks {
					continue
				}
				if err := os.Mkdir(filepath.Join(data, part), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			m := appliance.Member{Name: "node0", Placement: tt.placement, Host: "127.0.0.1", Port: serve(t, []byte(tt.says))}
			l := looker{sessions: &postgres.Sessions{}, provider: &placed{data: data}, limit: localLook}
			want := ""
			if tt.want != "" {
				want = filepath.Join(data, tt.want)
			}
			if got := l.missing(t.Context(), appliance.Cluster{}, m, appliance.Secrets{}); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
