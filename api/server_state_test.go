package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgapp/appliance"
)

// fakeState stands for the daemon's state.
type fakeState struct {
	backup   BackupRequest
	restore  RestoreRequest
	received []byte
	fail     error
}

func (f *fakeState) Backup(_ context.Context, req BackupRequest, w io.Writer) error {
	f.backup = req
	if _, err := io.WriteString(w, "half of it"); err != nil {
		return err
	}
	if f.fail != nil {
		return f.fail
	}
	_, err := w.Write(bytes.Repeat([]byte{7}, 1<<20))
	return err
}

func (f *fakeState) Restore(_ context.Context, r io.Reader, req RestoreRequest) (RestoreResult, error) {
	f.restore = req
	if f.fail != nil {
		return RestoreResult{}, f.fail
	}
	var err error
	f.received, err = io.ReadAll(r)
	return RestoreResult{Instance: "i", CreatedAt: time.Unix(1, 0).UTC()}, err
}

func (f *fakeState) Backups(context.Context) ([]BackupFile, error) { return nil, f.fail }

func (f *fakeState) Check(context.Context) (StateReport, error) { return StateReport{OK: true}, f.fail }

func (f *fakeState) Compact(context.Context) (CompactResult, error) {
	return CompactResult{BytesBefore: 2, BytesAfter: 1}, f.fail
}

func (f *fakeState) Adopt(_ context.Context, cluster string) (appliance.Adoption, error) {
	return appliance.Adoption{Cluster: cluster, Primary: "node1"}, f.fail
}

func TestStateThroughTheClient(t *testing.T) {
	t.Parallel()
	f := &fakeState{}
	d := start(t, newFake(), func(c *Config) { c.State, c.Adopter = f, f })
	c := NewTCPClient("http://"+d.addr, adminToken)
	var out bytes.Buffer
	if err := c.Backup(t.Context(), BackupRequest{Recipients: []string{"age1a", "age1b,c"}}, &out); err != nil || out.Len() != 1<<20+10 {
		t.Errorf("backup: %d bytes, %v", out.Len(), err)
	}
	if got := f.backup.Recipients; len(got) != 2 || got[1] != "age1b,c" {
		t.Errorf("recipients %q", got)
	}
	if err := c.Backup(t.Context(), BackupRequest{Passphrase: appliance.NewSecret("a b")}, io.Discard); err != nil || f.backup.Passphrase.Reveal() != "a b" {
		t.Errorf("passphrase %v", err)
	}
	// Far beyond what any other request may send.
	archive := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	req := RestoreRequest{Identities: appliance.NewSecret("AGE-1,AGE-2"), Passphrase: appliance.NewSecret("p"), Adopt: true}
	r, err := c.Restore(t.Context(), bytes.NewReader(archive), req)
	if err != nil || r.Instance != "i" || !bytes.Equal(f.received, archive) {
		t.Errorf("restore: %+v, %d bytes, %v", r, len(f.received), err)
	}
	if got := f.restore; got.Identities.Reveal() != "AGE-1\nAGE-2" || got.Passphrase.Reveal() != "p" || !got.Adopt {
		t.Errorf("restore was asked with %q, %t", got.Identities.Reveal(), got.Adopt)
	}
	if r, err := c.CompactState(t.Context()); err != nil || r.BytesAfter != 1 {
		t.Errorf("compact: %+v, %v", r, err)
	}
	if r, err := c.CheckState(t.Context()); err != nil || !r.OK {
		t.Errorf("check: %+v, %v", r, err)
	}
	if a, err := c.Adopt(t.Context(), "main"); err != nil || a.Primary != "node1" {
		t.Errorf("adopt: %+v, %v", a, err)
	}
	f.fail = appliance.NewProblem(appliance.ErrArchiveOlder, "too old")
	if err := c.Backup(t.Context(), BackupRequest{Plaintext: true}, io.Discard); !appliance.IsProblem(err, appliance.ErrArchiveOlder) {
		t.Errorf("a failed backup: %v", err)
	}
	if _, err := c.Restore(t.Context(), bytes.NewReader(archive), RestoreRequest{}); !appliance.IsProblem(err, appliance.ErrArchiveOlder) {
		t.Errorf("a failed restore: %v", err)
	}
}

func TestStateNeedsAdminAndOneSeal(t *testing.T) {
	t.Parallel()
	f := &fakeState{fail: errors.New("asked")}
	d := start(t, newFake(), func(c *Config) { c.State, c.Adopter = f, f })
	for _, c := range []struct {
		method, path, token, header string
		want                        int
	}{
		{"GET", "/api/v1/state/backup?plaintext=true", readToken, "", 403},
		{"GET", "/api/v1/state/backups", readToken, "", 403},
		{"POST", "/api/v1/state/restore", readToken, "", 403},
		{"POST", "/api/v1/state/check", readToken, "", 403},
		{"POST", "/api/v1/state/compact", readToken, "", 403},
		{"POST", "/api/v1/clusters/main/adopt", readToken, "", 403},
		{"GET", "/api/v1/state/backup", adminToken, "", 400},
		{"GET", "/api/v1/state/backup?plaintext=true&recipient=age1x", adminToken, "", 400},
		{"GET", "/api/v1/state/backup?plaintext=true", adminToken, "Pgapp-Passphrase: p\r\n", 400},
		{"GET", "/api/v1/state/backup?passphrase=p", adminToken, "", 422},
		{"GET", "/api/v1/state/backup?plaintext=true", adminToken, "", 500},
		{"POST", "/api/v1/state/restore?adopt=perhaps", adminToken, "", 422},
		{"POST", "/api/v1/clusters/Main/adopt", adminToken, "", 422},
	} {
		got := raw(t, d, c.method+" "+c.path+" HTTP/1.1\r\nHost: "+d.addr+"\r\nAuthorization: Bearer "+c.token+"\r\n"+c.header+
			"Content-Length: 0\r\nConnection: close\r\n\r\n")
		if got.status != c.want {
			t.Errorf("%s %s: %d, want %d: %s", c.method, c.path, got.status, c.want, got.body)
		}
	}
}

func TestHeldAndRecovery(t *testing.T) {
	t.Parallel()
	f := &fakeState{}
	var held atomic.Pointer[appliance.Problem]
	d := start(t, newFake(), func(c *Config) {
		c.State, c.Held = f, held.Load
		c.Recovery = appliance.NewProblem(appliance.ErrStoreDamaged, "broken")
	})
	c := NewUnixClient(d.sock)
	if _, err := c.Restore(t.Context(), strings.NewReader("x"), RestoreRequest{}); err != nil {
		t.Errorf("restore in recovery: %v", err)
	}
	if _, err := c.CheckState(t.Context()); err != nil {
		t.Errorf("check in recovery: %v", err)
	}
	if _, err := c.Clusters(t.Context()); !appliance.IsProblem(err, appliance.ErrDaemonRecovery) {
		t.Errorf("clusters in recovery: %v", err)
	}
	held.Store(appliance.NewProblem(appliance.ErrDaemonRecovery, "the state is being replaced"))
	if _, err := c.Info(t.Context()); err == nil || !strings.Contains(err.Error(), "being replaced") {
		t.Errorf("info while held: %v", err)
	}
	resp, err := c.Do(t.Context(), http.MethodGet, "/livez", nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("livez while held: %v", err)
	}
	_ = resp.Body.Close()
}
