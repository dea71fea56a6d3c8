package store_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"pgapp/appliance"
	"pgapp/store"
)

// filledHome makes a closed home with something in it, and returns the bytes
// of its database.
func filledHome(t *testing.T) (dir string, db []byte) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir)
	fill(t, s)
	closeStore(t, s)
	db, err := os.ReadFile(filepath.Join(dir, store.FileName))
	if err != nil {
		t.Fatal(err)
	}
	return dir, db
}

// reseal mends the checksum of a meta page after a change.
func reseal(db []byte, id int) {
	m := db[id*4096+16:]
	h := fnv.New64a()
	_, _ = h.Write(m[:56])
	binary.LittleEndian.PutUint64(m[56:], h.Sum64())
}

// TestOpenRefusesDamage opens every kind of damaged database: each is refused as damaged,
// and left as it is.
func TestOpenRefusesDamage(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(db []byte) []byte{
		"empty":               func([]byte) []byte { return nil },
		"one byte":            func(db []byte) []byte { return db[:1] },
		"100 bytes":           func(db []byte) []byte { return db[:100] },
		"one page":            func(db []byte) []byte { return db[:4096] },
		"two pages":           func(db []byte) []byte { return db[:8192] },
		"half":                func(db []byte) []byte { return db[:len(db)/2] },
		"zeros":               func(db []byte) []byte { return make([]byte, len(db)) },
		"text":                func([]byte) []byte { return bytes.Repeat([]byte("not a database\n"), 4000) },
		"first meta zeroed":   func(db []byte) []byte { clear(db[:4096]); return db },
		"second meta zeroed":  func(db []byte) []byte { clear(db[4096:8192]); return db },
		"all but metas zeros": func(db []byte) []byte { clear(db[8192:]); return db },
		"all but metas noise": func(db []byte) []byte { noise(db[8192:]); return db },
		"wrong magic":         func(db []byte) []byte { db[16]++; reseal(db, 0); return db },
		"wrong file version":  func(db []byte) []byte { db[4096+20]++; reseal(db, 1); return db },
		"root out of file":    func(db []byte) []byte { db[16+16+5]++; db[4096+16+16+5]++; reseal(db, 0); reseal(db, 1); return db },
		"root is the freelist": func(db []byte) []byte {
			for id := range 2 {
				m := db[id*4096+16:]
				copy(m[16:24], m[32:40])
				reseal(db, id)
			}
			return db
		},
		"more pages than there are": func(db []byte) []byte {
			for id := range 2 {
				binary.LittleEndian.PutUint64(db[id*4096+16+40:], 1<<60)
				reseal(db, id)
			}
			return db
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, db := filledHome(t)
			db = damage(db)
			path := filepath.Join(dir, store.FileName)
			if err := os.WriteFile(path, db, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := store.Open(t.Context(), dir, store.Options{})
			wantProblem(t, err, appliance.ErrStoreDamaged, path, "pgapp state restore FILE")
			_, err = store.Check(t.Context(), path)
			wantProblem(t, err, appliance.ErrStoreDamaged)
			_, err = store.Peek(t.Context(), path)
			wantProblem(t, err, appliance.ErrStoreDamaged)
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, db) {
				t.Errorf("the damaged file was changed (%v)", err)
			}
			lock, err := store.Lock(dir) // and the home isn't left locked
			if err != nil {
				t.Error(err)
			}
			_ = lock.Release()
		})
	}
}

func noise(b []byte) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // repeatable
	for i := range b {
		b[i] = byte(r.Uint32()) //nolint:gosec // any bits
	}
}

func TestOpenRefusesAVanishedDatabase(t *testing.T) {
	t.Parallel()
	for name, sidecar := range map[string]func(path string) error{
		"sidecar whole": func(string) error { return nil },
		"sidecar empty": func(path string) error { return os.Truncate(path, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, _ := filledHome(t)
			path := filepath.Join(dir, store.FileName)
			if err := sidecar(filepath.Join(dir, store.SidecarName)); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				_, err := store.Open(t.Context(), dir, store.Options{})
				wantProblem(t, err, appliance.ErrStoreDamaged, "vanished", "pgapp state restore FILE")
			}
			if _, err := os.Stat(path); err == nil {
				t.Error("a new database was made")
			}
		})
	}
}

func TestSidecarNamesTheInstance(t *testing.T) {
	t.Parallel()
	dir, db := filledHome(t)
	sidecar := filepath.Join(dir, store.SidecarName)
	want, err := os.ReadFile(sidecar)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", string(want) + "another\n", "another\n" + string(want)} {
		if err := os.WriteFile(sidecar, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		closeStore(t, open(t, dir))
		if got, _ := os.ReadFile(sidecar); !bytes.Equal(got, want) {
			t.Errorf("sidecar %q became %q, want %q", text, got, want)
		}
	}
	if err := os.Remove(sidecar); err != nil {
		t.Fatal(err)
	}
	closeStore(t, open(t, dir))
	if got, _ := os.ReadFile(sidecar); !bytes.Equal(got, want) {
		t.Errorf("a missing sidecar became %q, want %q", got, want)
	}
	other, _ := filledHome(t)
	if err := os.WriteFile(filepath.Join(other, store.FileName), db, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = store.Open(t.Context(), other, store.Options{})
	wantProblem(t, err, appliance.ErrStoreDamaged, "another instance")
}

// TestFlippedBitsAreNoticed turns single bits: each flip is either noticed or changes nothing
// that the store returns.
func TestFlippedBitsAreNoticed(t *testing.T) {
	t.Parallel()
	dir, db := filledHome(t)
	s := open(t, dir)
	want, err := content(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	f, err := os.OpenFile(filepath.Join(dir, store.FileName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	flips, noticed := 1000, 0
	if testing.Short() {
		flips = 200
	}
	r := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // repeatable
	for range flips {
		at, bit := r.IntN(len(db)), r.IntN(8)
		_, e1 := f.WriteAt([]byte{db[at] ^ 1<<bit}, int64(at))
		seen, e2 := afterFlip(t, dir, want)
		_, e3 := f.WriteAt(db[at:at+1], int64(at))
		if err := errors.Join(e1, e2, e3); err != nil {
			t.Fatalf("byte %d, bit %d: %v", at, bit, err)
		}
		if seen {
			noticed++
		}
	}
	t.Logf("%d flips, %d noticed, the others in unused space", flips, noticed)
}

func afterFlip(t *testing.T, dir, want string) (noticed bool, err error) {
	t.Helper()
	s, err := store.Open(t.Context(), dir, store.Options{})
	if appliance.IsProblem(err, appliance.ErrStoreDamaged) || appliance.IsProblem(err, appliance.ErrStoreNewer) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer closeStore(t, s)
	got, err := content(t.Context(), s)
	if err == nil && got != want {
		err = fmt.Errorf("unnoticed, but the content is\n%s\nand not\n%s", got, want)
	}
	return false, err
}
