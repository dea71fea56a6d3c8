package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgapp/appliance"
	"pgapp/store"
	"pgapp/store/storetest"
)

const canary = "canary-7c1f0e5b"

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	nc := storetest.NewCluster("main")
	nc.Secrets.Values["app"] = appliance.NewSecret(canary)
	if err := s.Begin(t.Context(), appliance.Beginning{Operation: storetest.NewOperation("op1", "main"), Create: nc}); err != nil {
		t.Fatal(err)
	}
	return s
}

func now() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }

// passphrase is WithPassphrase with little work.
func passphrase(p string) Seal {
	seal := WithPassphrase(appliance.NewSecret(p))
	seal.logN = 10
	return seal
}

func sealed(t *testing.T, s *store.Store, seal Seal) ([]byte, Manifest) {
	t.Helper()
	var b bytes.Buffer
	m, err := Write(t.Context(), &b, Source{Store: s, Version: "1.2.3", Now: now()}, seal)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), m
}

func wantID(t *testing.T, err error, id appliance.ErrorID) {
	t.Helper()
	if !appliance.IsProblem(err, id) {
		t.Errorf("error %v, want a problem %s", err, id)
	}
	if err != nil && strings.Contains(fmt.Sprintf("%+v", appliance.AsProblem(err)), canary) {
		t.Errorf("the error shows a secret: %v", err)
	}
}

// wantNothing looks for what a failed Read may have left.
func wantNothing(t *testing.T, dest string) {
	t.Helper()
	left, err := os.ReadDir(filepath.Dir(dest))
	if err != nil || len(left) != 0 {
		t.Errorf("a refused archive left %v (%v)", left, err)
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	identity, recipient, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	_, another, _ := NewIdentity()
	for name, c := range map[string]struct {
		seal Seal
		keys Keys
	}{
		"passphrase":     {passphrase("open sesame"), Keys{Passphrase: appliance.NewSecret("open sesame")}},
		"recipient":      {ForRecipients(recipient), Keys{Identities: identity}},
		"two recipients": {ForRecipients(another, recipient), Keys{Identities: identity}},
		"both keys": {
			ForRecipients(recipient),
			Keys{Passphrase: appliance.NewSecret("x"), Identities: appliance.NewSecret("# mine\n" + identity.Reveal() + "\n")},
		},
		"plaintext": {Plaintext(), Keys{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			file, wrote := sealed(t, s, c.seal)
			if plain := bytes.Contains(file, []byte(StateName)); plain != c.seal.plain {
				t.Errorf("the archive shows its contents: %t", plain)
			}
			dest := filepath.Join(t.TempDir(), "unpacked")
			m, err := Read(t.Context(), bytes.NewReader(file), c.keys, dest, Limits{})
			if diff := cmp.Diff(wrote, m); diff != "" || err != nil {
				t.Fatalf("manifest (%v): %s", err, diff)
			}
			info, err := s.Info(t.Context())
			if err != nil || m.Instance != info.Instance || m.Epoch != 1 || m.SchemaVersion != store.SchemaVersion || m.PgappVersion != "1.2.3" {
				t.Errorf("manifest %+v of %+v (%v)", m, info, err)
			}
			report, err := store.Check(t.Context(), filepath.Join(dest, StateName))
			if err != nil || len(report.Findings) != 0 || report.Values["secrets"] != 1 {
				t.Errorf("check: %+v (%v)", report, err)
			}
			for _, name := range []string{".", ManifestName, StateName} {
				if fi, err := os.Stat(filepath.Join(dest, name)); err != nil || fi.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s has mode %v (%v)", name, fi.Mode(), err)
				}
			}
			if _, err := Read(t.Context(), bytes.NewReader(file), c.keys, dest, Limits{}); err == nil {
				t.Error("an existing directory was unpacked over")
			}
		})
	}
}

func TestRefusedSeals(t *testing.T) {
	t.Parallel()
	identity, recipient, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	s := newStore(t)
	for name, seal := range map[string]Seal{
		"none":          {},
		"no recipient":  ForRecipients(),
		"nonsense":      ForRecipients("age1nonsense"),
		"a private key": ForRecipients(identity.Reveal()),
		"both":          {passphrase: appliance.NewSecret("x"), recipients: []string{recipient}},
	} {
		var b bytes.Buffer
		_, err := Write(t.Context(), &b, Source{Store: s, Now: now()}, seal)
		if !appliance.IsProblem(err, appliance.ErrUsage) || b.Len() != 0 {
			t.Errorf("%s: %v with %d bytes written, want a usage problem and none", name, err, b.Len())
		}
		if err != nil && strings.Contains(err.Error(), identity.Reveal()[20:40]) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}

func TestWrongKeys(t *testing.T) {
	t.Parallel()
	identity, recipient, err := NewIdentity()
	other, _, err2 := NewIdentity()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	s := newStore(t)
	byPass, _ := sealed(t, s, passphrase("right"))
	byKey, _ := sealed(t, s, ForRecipients(recipient))
	for name, c := range map[string]struct {
		file []byte
		keys Keys
	}{
		"no key":                      {byPass, Keys{}},
		"no key for a recipient":      {byKey, Keys{}},
		"wrong passphrase":            {byPass, Keys{Passphrase: appliance.NewSecret(canary)}},
		"identity for a passphrase":   {byPass, Keys{Identities: identity}},
		"passphrase for a recipient":  {byKey, Keys{Passphrase: appliance.NewSecret("right")}},
		"another identity":            {byKey, Keys{Identities: other}},
		"identity that isn't one":     {byKey, Keys{Identities: appliance.NewSecret(canary)}},
		"recipient where identity is": {byKey, Keys{Identities: appliance.NewSecret(recipient)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dest := filepath.Join(t.TempDir(), "unpacked")
			_, err := Read(t.Context(), bytes.NewReader(c.file), c.keys, dest, Limits{})
			wantID(t, err, ErrKey)
			wantNothing(t, dest)
		})
	}
}

// TestPlainTools opens an archive without any code of pgapp's.
func TestPlainTools(t *testing.T) {
	t.Parallel()
	age, err := exec.LookPath("age")
	if _, apt := exec.LookPath("apt-get"); err != nil && apt == nil && os.Geteuid() == 0 {
		t.Fatal("the age tool isn't installed, but can be: run scripts/test, or apt-get install age")
	}
	if err != nil {
		t.Skip("SKIPPED: the age tool isn't installed, so archives aren't opened with it")
	}
	identity, recipient, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, keyFile := filepath.Join(dir, "state.tar.age"), filepath.Join(dir, "key")
	m, err := WriteFile(t.Context(), path, Source{Store: newStore(t), Now: now()}, ForRecipients(recipient))
	if err = errors.Join(err, os.WriteFile(keyFile, []byte(identity.Reveal()+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	run(t, dir, age, "-d", "-i", keyFile, "-o", "state.tar", path)
	if got := run(t, dir, "tar", "-tf", "state.tar"); got != ManifestName+"\n"+StateName+"\n" {
		t.Errorf("tar lists %q", got)
	}
	run(t, dir, "tar", "-xf", "state.tar")
	sum := run(t, dir, "sha256sum", StateName)
	if !strings.HasPrefix(sum, m.Parts[0].SHA256) {
		t.Errorf("sha256sum says %q, the manifest %s", sum, m.Parts[0].SHA256)
	}
	// And back: what tar and age make of it is an archive again.
	run(t, dir, "tar", "-cf", "again.tar", ManifestName, StateName)
	run(t, dir, age, "-r", recipient, "-o", "again.age", "again.tar")
	f, err := os.Open(filepath.Join(dir, "again.age"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := Read(t.Context(), f, Keys{Identities: identity}, filepath.Join(dir, "unpacked"), Limits{}); err != nil {
		t.Error(err)
	}
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", filepath.Base(name), args, err, stderr.Bytes())
	}
	return string(out)
}

func TestAccept(t *testing.T) {
	t.Parallel()
	m := Manifest{Instance: "a", Epochs: map[string]uint64{"c1": 3, "c2": 5}}
	for name, c := range map[string]struct {
		living *store.Info
		adopt  bool
		want   appliance.ErrorID
	}{
		"no living state":     {nil, false, ""},
		"same":                {&store.Info{Instance: "a", Epochs: map[string]uint64{"c1": 3, "c2": 5}}, false, ""},
		"newer than living":   {&store.Info{Instance: "a", Epochs: map[string]uint64{"c1": 2}}, false, ""},
		"cluster made since":  {&store.Info{Instance: "a", Epochs: map[string]uint64{"c9": 9}}, false, ""},
		"older":               {&store.Info{Instance: "a", Epochs: map[string]uint64{"c1": 4, "c2": 5}}, false, ErrOlder},
		"foreign":             {&store.Info{Instance: "b"}, false, ErrForeign},
		"foreign, adopted":    {&store.Info{Instance: "b"}, true, ""},
		"older, though asked": {&store.Info{Instance: "b", Epochs: map[string]uint64{"c2": 6}}, true, ErrOlder},
	} {
		err := m.Accept(c.living, c.adopt)
		if c.want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.want != "" && !appliance.IsProblem(err, c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestWriteFileAndRotate(t *testing.T) {
	t.Parallel()
	_, recipient, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	s, dir := newStore(t), t.TempDir()
	for _, name := range []string{".archive.tmp-1", "state-mine.txt", "other.tar.age"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		at := now().Add(time.Duration(i) * time.Millisecond)
		_, err := WriteFile(t.Context(), filepath.Join(dir, FileName(at)), Source{Store: s, Now: at}, ForRecipients(recipient))
		if err = errors.Join(err, Rotate(dir, 7)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		got = append(got, e.Name())
		if fi, err := e.Info(); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v (%v)", e.Name(), fi.Mode(), err)
		}
	}
	want := []string{"other.tar.age"}
	for i := 3; i < 10; i++ {
		want = append(want, FileName(now().Add(time.Duration(i)*time.Millisecond)))
	}
	if diff := cmp.Diff(append(want, "state-mine.txt"), got); diff != "" || err != nil {
		t.Errorf("files (%v): %s", err, diff)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := WriteFile(ctx, filepath.Join(dir, "x"), Source{Store: s, Now: now()}, Plaintext()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "x")); err == nil {
		t.Error("a cancelled archive is there")
	}
}

// TestFullDisk unpacks onto a disk that is too small.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Skipf("SKIPPED, the full disk is not tested: mounting a tmpfs needs root: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	file, _ := sealed(t, newStore(t), Plaintext())
	dest := filepath.Join(dir, "unpacked")
	_, err := Read(t.Context(), bytes.NewReader(file), Keys{}, dest, Limits{})
	wantID(t, err, appliance.ErrStoreFull)
	wantNothing(t, dest)
	_, err = WriteFile(t.Context(), filepath.Join(dir, "out"), Source{Store: newStore(t), Now: now()}, Plaintext())
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("writing: %v, want ENOSPC", err)
	}
	wantNothing(t, dest)
}

// entry is one of a tar made by hand.
type entry struct {
	tar.Header
	data []byte
}

func file(name string, data []byte) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o600}, data}
}

func rawTar(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.Header
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func manifestEntry(t testing.TB, m any) entry {
	t.Helper()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return file(ManifestName, text)
}

// stateOf unpacks the database of a plain archive.
func stateOf(t *testing.T, plain []byte) []byte {
	t.Helper()
	tr := tar.NewReader(bytes.NewReader(plain))
	for {
		h, err := tr.Next()
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == StateName {
			b, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
}
