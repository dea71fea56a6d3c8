package local

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"pgapp/appliance"
)

func TestMain(m *testing.M) {
	if os.Getenv(daemonEnv) != "" {
		os.Exit(daemonMain())
	}
	goleak.VerifyTestMain(m)
}

const testUUID = "0f1e2d3c-0000-4000-8000-000000000001"

// selfProvider's members run as whoever runs the test, root too: enough for
// everything but PostgreSQL.
func selfProvider(t *testing.T) *Provider {
	t.Helper()
	return &Provider{
		home: t.TempDir(), temp: t.TempDir(), account: account{name: controlUser(), self: true},
		block: firstBlock, children: map[string]*child{},
	}
}

func testCluster(names ...string) appliance.Cluster {
	c := appliance.Cluster{Name: "c", UUID: testUUID, Primary: "node0"}
	for _, n := range names {
		c.Members = append(c.Members, appliance.Member{Name: n, Placement: appliance.PlacementLocal, Host: "127.0.122.1", Port: 5432})
	}
	return c
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func ignore(appliance.Progress) {}

func do(t *testing.T, steps []appliance.Step) error {
	t.Helper()
	for _, s := range steps {
		if err := s.Do(testContext(t), ignore); err != nil {
			return err
		}
	}
	return nil
}

func mustDo(t *testing.T, steps []appliance.Step) {
	t.Helper()
	if err := do(t, steps); err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		if done, err := s.Done(testContext(t)); err != nil || !done {
			t.Fatalf("step %s: Done() = %v, %v", s.ID, done, err)
		}
	}
}

// made makes one member's machine.
func made(t *testing.T, p *Provider) *machine {
	t.Helper()
	c := testCluster("node0")
	mustDo(t, p.CreateSteps(c, c.Members))
	t.Cleanup(func() { mustDo(t, p.DestroySteps(c, c.Members)) })
	return p.machine(c, c.Members[0])
}

func write(t *testing.T, text string, path ...string) string {
	t.Helper()
	file := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func itoa(n int) string { return strconv.Itoa(n) }
