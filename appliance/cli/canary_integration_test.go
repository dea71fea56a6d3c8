//go:build integration

package cli_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"pgapp/store"
)

// TestPasswordsStayOutOfLogsAndProcesses looks for the cluster's passwords where they may not be: in
// logs, in arguments and environments of processes, in answers of the API, in
// the state outside of its secrets, and in files that others may read.
func TestPasswordsStayOutOfLogsAndProcesses(t *testing.T) {
	t.Parallel()
	b := newBox(t).shareTree()
	b.up("--standbys", "1", "--postgres-bin", pgbin(t)) // the way with pg_basebackup and SQL
	b.verified()
	b.ok("reinit", "node1")
	b.ok("url")
	seen := everywhere(t, b)
	seen["the output of commands"] = b.ok("ps", "-o", "json").out + b.ok("url").out + b.ok("ops", "-o", "json").out + b.ok("logs").out
	for _, path := range []string{
		"/api/v1/info", "/api/v1/clusters", "/api/v1/clusters/main", "/api/v1/clusters/main/members", "/api/v1/clusters/main/connection",
		"/api/v1/operations", "/metrics", "/openapi.json",
	} {
		seen["GET "+path] = b.run("api", "GET", path).out
	}
	b.ok("shutdown")
	secrets := stored(t, b, seen)
	if len(secrets) < 4 {
		t.Fatalf("%d secrets in the state", len(secrets))
	}
	for name, secret := range secrets {
		if len(secret) < 16 {
			t.Errorf("secret %s has %d characters", name, len(secret))
		}
		for place, text := range seen {
			if strings.Contains(text, secret) {
				t.Errorf("the password of %s stands in %s", name, place)
			}
		}
	}
	passwordFiles(t, b, secrets)
}

// everywhere collects what the home's processes show.
func everywhere(t *testing.T, b *box) map[string]string {
	t.Helper()
	out := map[string]string{}
	pids := append(b.processes(), b.pid())
	if len(pids) < 10 {
		t.Errorf("only %d processes", len(pids))
	}
	for _, pid := range pids {
		for _, f := range []string{"cmdline", "environ"} {
			path := filepath.Join("/proc", strconv.Itoa(pid), f)
			if data, err := os.ReadFile(path); err == nil {
				out[path+" of "+strings.ReplaceAll(out[filepath.Join("/proc", strconv.Itoa(pid), "cmdline")], "\x00", " ")] = string(data)
			}
		}
	}
	return out
}

// stored opens the state and returns the secrets; what stands in its other
// buckets is added to seen.
func stored(t *testing.T, b *box, seen map[string]string) map[string]string {
	t.Helper()
	out := map[string]string{}
	lock, err := store.Lock(b.home)
	b.must(err)
	st, err := store.Open(t.Context(), b.home, store.Options{Lock: lock})
	b.must(err)
	s, err := st.Secrets(t.Context(), "main")
	b.must(err)
	for name, v := range s.Values {
		out[name] = v.Reveal()
	}
	b.must(st.Close())
	b.must(lock.Release())
	db, err := bbolt.Open(filepath.Join(b.home, store.FileName), 0o600, &bbolt.Options{ReadOnly: true})
	b.must(err)
	defer func() { _ = db.Close() }()
	b.must(db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, bucket *bbolt.Bucket) error {
			if bytes.Contains(name, []byte("secret")) {
				return nil
			}
			var all strings.Builder
			dump(bucket, &all)
			seen["bucket "+string(name)+" of the state"] = all.String()
			return nil
		})
	}))
	return out
}

func dump(b *bbolt.Bucket, w *strings.Builder) {
	_ = b.ForEach(func(k, v []byte) error {
		w.Write(k)
		w.Write(v)
		if v == nil {
			dump(b.Bucket(k), w)
		}
		return nil
	})
}

// passwordFiles wants passwords in files of mode 0600 that are made for them,
// and in no other.
func passwordFiles(t *testing.T, b *box, secrets map[string]string) {
	t.Helper()
	b.must(filepath.WalkDir(b.home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasPrefix(path, filepath.Join(b.home, "postgres")+"/") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for name, secret := range secrets {
			if !bytes.Contains(data, []byte(secret)) {
				continue
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(b.home, path)
			if info.Mode().Perm()&0o077 != 0 || rel != store.FileName && !strings.Contains(strings.ToLower(filepath.Base(rel)), "pass") {
				t.Errorf("the password of %s stands in %s (mode %s)", name, rel, info.Mode())
			}
		}
		return nil
	}))
	if info, err := os.Stat(filepath.Join(b.home, "token")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token: %v, %v", info, err)
	}
}
