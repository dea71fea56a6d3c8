package image

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgapp/appliance"
)

func digestOf(b string) string {
	sum := sha256.Sum256([]byte(b))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func TestCatalogueEntriesAreValid(t *testing.T) {
	t.Parallel()
	for _, i := range Catalogue() {
		if _, _, err := newHash(i.Digest); err != nil || !strings.HasPrefix(i.URL, "https://") {
			t.Errorf("%s: %v", i.Name, err)
		}
		got, err := Find(i.Name, "")
		if err != nil || got != i {
			t.Errorf("%s: got %+v, %v", i.Name, got, err)
		}
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	d := digestOf("")
	for _, tc := range []struct {
		name, digest string
		want         appliance.ErrorID
	}{
		{"ubuntu-24.04", "", ""},
		{"/srv/x.qcow2", "", ""},
		{"https://x/y.img", d, ""},
		{"https://x/y.img", "", appliance.ErrInvalidSpec},
		{"windows-95", "", appliance.ErrImageMissing},
		{"ubuntu-24.04", d, appliance.ErrImageDigest},
	} {
		_, err := Find(tc.name, tc.digest)
		if (err == nil) != (tc.want == "") || err != nil && !appliance.IsProblem(err, tc.want) {
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestPullResumesPartialDownload(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("0123456789", 100_000)
	var requests, ranged atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if r.Header.Get("Range") != "" {
			ranged.Add(1)
		}
		if requests.Load() == 1 { // cut off in the middle
			w.Header().Set("Content-Length", "1000000")
			_, _ = w.Write([]byte(body[:400_000]))
			return
		}
		http.ServeContent(w, r, "x", time.Time{}, strings.NewReader(body))
	}))
	defer srv.Close()
	s := NewStore(t.TempDir())
	i := Image{Name: "x", URL: srv.URL, Digest: digestOf(body)}
	if s.Have(i) {
		t.Error("it is there before it was fetched")
	}
	var last int64
	path, digest, err := s.Ensure(t.Context(), i, func(done, _ int64) { last = done })
	if err != nil || digest != i.Digest || last != 1_000_000 {
		t.Fatalf("got %q, %q, %v after %d bytes", path, digest, err, last)
	}
	if got, _ := os.ReadFile(path); string(got) != body {
		t.Errorf("got %d bytes", len(got))
	}
	if ranged.Load() != 1 {
		t.Errorf("got %d requests, %d of them for the rest", requests.Load(), ranged.Load())
	}
	if _, _, err := s.Ensure(t.Context(), i, nil); err != nil || requests.Load() != 2 {
		t.Errorf("a repeat: %v, %d requests", err, requests.Load())
	}
	all, err := s.List()
	if err != nil || len(all) != 1 || all[0].Digest != i.Digest || all[0].Partial {
		t.Errorf("got %+v, %v", all, err)
	}
	if err := s.Remove(i.Digest); err != nil || s.Have(i) {
		t.Errorf("got %v", err)
	}
	if err := s.Remove(i.Digest); !appliance.IsProblem(err, appliance.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestEnsureRejectsDigestMismatch(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("evil")) }))
	defer srv.Close()
	dir := t.TempDir()
	s := NewStore(dir)
	_, _, err := s.Ensure(t.Context(), Image{URL: srv.URL, Digest: digestOf("good")}, nil)
	if !appliance.IsProblem(err, appliance.ErrImageDigest) {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	defer gone.Close()
	if _, _, err := s.Ensure(t.Context(), Image{URL: gone.URL, Digest: digestOf("good")}, nil); !appliance.IsProblem(err, appliance.ErrImageDownload) {
		t.Errorf("got %v", err)
	}
}

func TestImport(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "a.qcow2")
	if err := os.WriteFile(file, []byte("good"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := NewStore(t.TempDir())
	if _, err := s.Import(t.Context(), file, digestOf("other"), nil); !appliance.IsProblem(err, appliance.ErrImageDigest) {
		t.Errorf("got %v", err)
	}
	e, err := s.Import(t.Context(), file, "", nil)
	if err != nil || e.Digest != digestOf("good") || e.Bytes != 4 {
		t.Fatalf("got %+v, %v", e, err)
	}
	if !s.Have(Image{URL: "https://x", Digest: e.Digest}) {
		t.Error("what was imported doesn't serve an address with that digest")
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "a.qcow2")
	if err := os.WriteFile(file, []byte("good"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := NewStore(t.TempDir())
	for name, want := range map[string]appliance.ErrorID{
		"ubuntu-24.04": appliance.ErrConflict, "../x": appliance.ErrUsage, "A": appliance.ErrUsage, "a..b": appliance.ErrUsage, "-x": appliance.ErrUsage,
	} {
		if _, err := s.Keep(t.Context(), Image{File: file}, name, nil); !appliance.IsProblem(err, want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, name := range []string{"mine", "mine-too", "mine"} {
		e, err := s.Keep(t.Context(), Image{File: file}, name, nil)
		if err != nil || e.Name != name || e.Digest != digestOf("good") {
			t.Fatalf("%s: got %+v, %v", name, e, err)
		}
	}
	i, err := s.Find("mine", "")
	if err != nil || !s.Have(i) || i.Digest != digestOf("good") {
		t.Errorf("got %+v, %v", i, err)
	}
	if _, err := s.Find("mine", digestOf("other")); !appliance.IsProblem(err, appliance.ErrImageDigest) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Find("ubuntu-24.04", ""); err != nil {
		t.Error(err)
	}
	if err := s.Remove("mine"); err != nil {
		t.Fatal(err)
	}
	if all, err := s.List(); err != nil || len(all) != 1 || all[0].Name != "mine-too" {
		t.Errorf("after the removal of one name of two: %+v, %v", all, err)
	}
	if err := s.Remove(digestOf("good")); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(s.dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := s.Find("mine-too", ""); !appliance.IsProblem(err, appliance.ErrImageMissing) {
		t.Errorf("got %v", err)
	}
}
