package store_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	bolt "go.etcd.io/bbolt"

	"pgapp/appliance"
	"pgapp/store"
	"pgapp/store/storetest"
)

// TestGolden opens the database that the first release of each schema wrote.
// A file under testdata is never changed once released; `go test -update`
// writes the one of the present schema anew.
func TestGolden(t *testing.T) {
	t.Parallel()
	for version := 1; version <= store.SchemaVersion; version++ {
		golden := filepath.Join("testdata", fmt.Sprintf("state.v%d.db", version))
		if updating() && version == store.SchemaVersion {
			writeGolden(t, golden)
		}
		db, err := os.ReadFile(golden) //nolint:gosec // a path of the test's
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		path := filepath.Join(dir, store.FileName)
		if err := os.WriteFile(path, db, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir)
		checkGolden(t, s, version)
		closeStore(t, s)
		report, err := store.Check(t.Context(), path)
		kept, keptErr := store.Peek(t.Context(), filepath.Join(dir, fmt.Sprintf("%s.pre-v%d", store.FileName, version+1)))
		if older := version < store.SchemaVersion; older != (keptErr == nil) || older && kept.Schema != version {
			t.Errorf("version %d: the copy from before has schema %d, %v", version, kept.Schema, keptErr)
		}
		if err != nil || len(report.Findings) != 0 || report.Info.Schema != store.SchemaVersion {
			t.Errorf("version %d: check %+v (%v)", version, report, err)
		}
	}
}

// goldenHash marks the token and the request in the golden file.
func goldenHash() [32]byte { return [32]byte([]byte("0123456789abcdef0123456789abcdef")) }

func goldenOperation() appliance.Operation {
	op := storetest.NewOperation("op1", "main")
	ended := stamp().Add(time.Minute)
	op.State, op.EndedAt, op.Revision = appliance.OpFailed, &ended, 12
	op.Error = appliance.NewProblem(appliance.ErrClone, "cloning %q failed", "node1").WithHint("try again").WithDetail("the end of a log")
	return op
}

func writeGolden(t *testing.T, path string) {
	t.Helper()
	dir, ctx := t.TempDir(), t.Context()
	s, err := store.Open(ctx, dir, store.Options{Now: stamp})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	err = errors.Join(
		s.Begin(ctx, appliance.Beginning{Operation: storetest.NewOperation("op1", "main"), Create: storetest.NewCluster("main")}),
		s.SaveOperation(ctx, goldenOperation(), false),
		s.Begin(ctx, appliance.Beginning{Operation: storetest.NewOperation("op2", "main"), Record: func(c *appliance.Cluster) error {
			*c = goldenCluster(store.SchemaVersion)
			return nil
		}}),
		s.PutToken(ctx, store.Token{ID: "t1", Name: "ci", Scope: store.ScopeRead, Hash: goldenHash(), CreatedAt: stamp()}),
		s.IdempotencyPut(ctx, "key1", store.Record{BodyHash: goldenHash(), OperationID: "op1", CreatedAt: stamp()}),
		s.PutSetting(ctx, "backup", []byte{0, 1, 0xFF}),
	)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Backup(ctx, &b)
	closeStore(t, s)
	if err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// goldenCluster is the cluster of the golden file of that schema, as this program
// reads it.
func goldenCluster(version int) appliance.Cluster {
	c := storetest.NewCluster("main").Cluster
	c.Members[0].Epoch, c.Members[1].Epoch = 1, 1
	if version == 1 {
		return c
	}
	c.Timeline, c.Ancestors = 2, []appliance.Switch{{Timeline: 1, At: 0x5000148}}
	c.Promotions = []appliance.Promotion{{Epoch: 1, Member: "node0", Timeline: 2, Switch: 0x5000148, At: stamp(), Reason: "failover"}}
	c.Promise = appliance.Promise{Set: []string{"node1"}, K: 1}
	c.Sync = c.Promise
	c.Change = &appliance.PrimaryChange{
		Operation: "op2", Kind: appliance.OpFailover, From: "node0", Phase: appliance.ChangePromoting, Wanted: "node1", AllowDataLoss: true,
		To: "node1", LSN: 0x1_0500_0148, Epoch: 2, Tried: []string{"node9"},
		Why: &appliance.ElectionRefusal{Reason: appliance.ErrQuorumLost, Missing: []string{"node1"}, Unfit: map[string]string{"node9": "was tried before"}, Behind: 4096},
	}
	c.Members[1].Return = appliance.WayRewind
	return c
}

func checkGolden(t *testing.T, s *store.Store, version int) {
	t.Helper()
	ctx := t.Context()
	c, e1 := s.Cluster(ctx, "main")
	op, e2 := s.Operation(ctx, "op1")
	run, e3 := s.Running(ctx, "main")
	sec, e4 := s.Secrets(ctx, "main")
	tok, e5 := s.TokenByHash(ctx, goldenHash())
	set, e6 := s.Setting(ctx, "backup")
	info, e7 := s.Info(ctx)
	if err := errors.Join(e1, e2, e3, e4, e5, e6, e7); err != nil {
		t.Fatal(err)
	}
	for what, diff := range map[string]string{
		"cluster":   cmp.Diff(goldenCluster(version), c),
		"operation": cmp.Diff(goldenOperation(), op, cmpopts.IgnoreUnexported(appliance.Problem{})),
		"running":   cmp.Diff(storetest.NewOperation("op2", "main"), run),
		"secret":    cmp.Diff("s3cr3t", sec.Get(appliance.SecretApp).Reveal()),
		"token":     cmp.Diff(store.Token{ID: "t1", Name: "ci", Scope: store.ScopeRead, Hash: goldenHash(), CreatedAt: stamp()}, tok),
		"setting":   cmp.Diff([]byte{0, 1, 0xFF}, set),
		"created":   cmp.Diff(stamp(), info.Created),
		"epochs":    cmp.Diff(map[string]uint64{"uuid-main": 1}, info.Epochs),
	} {
		if diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
}

// putRaw writes a meta value as a pgapp of another schema would.
func putRaw(t *testing.T, path, key, json string, format byte) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	sealed := append([]byte("meta"), format, 0, 0, 0, byte(len(key)))
	sealed = append(append(sealed, key...), json...)
	sum := crc32.Checksum(sealed, crc32.MakeTable(crc32.Castagnoli))
	value := append(binary.BigEndian.AppendUint32([]byte{format}, sum), json...)
	err = db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte(key), value) })
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestSchema opens databases of another schema, and of none.
func TestSchema(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		json   string
		format byte
		want   appliance.ErrorID
		part   string
	}{
		"same":         {"2", 1, "", ""},
		"newer":        {"3", 1, appliance.ErrStoreNewer, "schema version 3"},
		"newer values": {"1", 2, appliance.ErrStoreNewer, "format"},
		"nonsense":     {"0", 1, appliance.ErrStoreDamaged, "schema version 0"},
		"not a number": {`"x"`, 1, appliance.ErrStoreDamaged, "schema_version"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, _ := filledHome(t)
			path := filepath.Join(dir, store.FileName)
			putRaw(t, path, "schema_version", c.json, c.format)
			before, _ := os.ReadFile(path)
			s, err := store.Open(t.Context(), dir, store.Options{})
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				closeStore(t, s)
				return
			}
			wantProblem(t, err, c.want, path, c.part, "pgapp state restore FILE")
			_, err = store.Check(t.Context(), path)
			wantProblem(t, err, c.want)
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}

// TestMissing opens sound bbolt files that aren't whole states.
func TestMissing(t *testing.T) {
	t.Parallel()
	for _, bucket := range []string{"meta", "clusters", "running", "all"} {
		t.Run(bucket, func(t *testing.T) {
			t.Parallel()
			dir, _ := filledHome(t)
			path := filepath.Join(dir, store.FileName)
			db, err := bolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(func(tx *bolt.Tx) error {
				return tx.ForEach(func(name []byte, _ *bolt.Bucket) error {
					if bucket != "all" && bucket != string(name) {
						return nil
					}
					return tx.DeleteBucket(name)
				})
			})
			if err = errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
			_, err = store.Open(t.Context(), dir, store.Options{})
			wantProblem(t, err, appliance.ErrStoreDamaged, "missing")
		})
	}
}

// TestCheckFinds breaks what the records say of each other.
func TestCheckFinds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ bucket, key, part string }{
		"operation gone":      {"operations", "op2", "running operation"},
		"ended one gone":      {"operations", "op1", "ended operation"},
		"running key gone":    {"running", "other", "op2 is running"},
		"cluster gone":        {"clusters", "main", "secrets of cluster"},
		"idempotency key":     {"idempotency", "key1", "time of idempotency key"},
		"nothing is not that": {"settings", "none", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, _ := filledHome(t)
			path := filepath.Join(dir, store.FileName)
			db, err := bolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte(c.bucket)).Delete([]byte(c.key)) })
			if err = errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
			report, err := store.Check(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(report.Findings, "\n")
			if (c.part == "") != (got == "") || !strings.Contains(got, c.part) {
				t.Errorf("findings %q, want %q", got, c.part)
			}
		})
	}
}
