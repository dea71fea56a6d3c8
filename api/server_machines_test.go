package api

import (
	"context"
	"strings"
	"testing"

	"pgapp/appliance"
)

const someUUID = "6f1c2f0e-8f0e-4d55-9a53-0f6a7f1a2b3c"

// fakeMachines keeps names of images.
type fakeMachines struct {
	kept map[string]bool
	gone []string
	wait bool
	// pruned is set once there is nothing left to prune.
	pruned bool
}

func (f *fakeMachines) Images(context.Context) ([]ImageEntry, error) {
	var out []ImageEntry
	for n := range f.kept {
		out = append(out, ImageEntry{Name: n, Kept: "kept"})
	}
	return out, nil
}

func (f *fakeMachines) KeepImage(ctx context.Context, req ImageRequest, report appliance.Report) (ImageEntry, error) {
	if req.Digest != "" {
		return ImageEntry{}, appliance.NewProblem(appliance.ErrImageDigest, "another digest").WithHint("fetch it again")
	}
	for i := range int64(1000) {
		report(appliance.Progress{Detail: "fetching", BytesDone: i + 1, BytesTotal: 1000})
	}
	if f.wait {
		<-ctx.Done()
		return ImageEntry{}, ctx.Err()
	}
	f.kept[req.Name] = true
	return ImageEntry{Name: req.Name, Kept: "kept", Bytes: 1000}, nil
}

func (f *fakeMachines) RemoveImage(_ context.Context, name string) error {
	if !f.kept[name] {
		return appliance.NewProblem(appliance.ErrNotFound, "no image %q", name)
	}
	delete(f.kept, name)
	return nil
}

func (f *fakeMachines) PruneImages(context.Context) (PrunedImages, error) {
	if f.pruned {
		return PrunedImages{}, nil
	}
	f.pruned = true
	return PrunedImages{Removed: []PrunedImage{{Name: "golden-1.qcow2", Bytes: 7}}}, nil
}

func (f *fakeMachines) Login(_ context.Context, _, member string) (GuestLogin, error) {
	return GuestLogin{Host: member, Port: 22, User: "pgapp", Key: "sesame", HostKey: "ssh-ed25519 AAAA"}, nil
}

func (f *fakeMachines) Use(_ context.Context, cluster, member string) (MachineUse, error) {
	if cluster+"/"+member != "main/node1" {
		return MachineUse{}, appliance.NoMember(cluster, member)
	}
	return MachineUse{ProcessorSeconds: 1.5}, nil
}

func (f *fakeMachines) DestroyByTag(_ context.Context, uuid string, report appliance.Report) error {
	report(appliance.Progress{Detail: "removing domain x"})
	f.gone = append(f.gone, uuid)
	return nil
}

func TestImages(t *testing.T) {
	t.Parallel()
	f := &fakeMachines{kept: map[string]bool{}}
	d := start(t, newFake(), func(c *Config) { c.Machines = f })
	events, last := 0, int64(0)
	e, err := d.unix.KeepImage(t.Context(), ImageRequest{Name: "debian-13"}, func(p appliance.Progress) { events++; last = p.BytesDone })
	if err != nil || e.Name != "debian-13" || e.Bytes != 1000 {
		t.Fatalf("got %+v, %v", e, err)
	}
	if events == 0 || events > 100 || last != 1000 {
		t.Errorf("%d events, the last of %d bytes", events, last)
	}
	_, err = d.unix.KeepImage(t.Context(), ImageRequest{Name: "x", Digest: "sha256:" + strings.Repeat("0", 64)}, nil)
	if !appliance.IsProblem(err, appliance.ErrImageDigest) || appliance.AsProblem(err).Hint != "fetch it again" {
		t.Errorf("got %v", err)
	}
	if l, err := d.unix.Images(t.Context()); err != nil || len(l) != 1 {
		t.Errorf("got %+v, %v", l, err)
	}
	if err := d.unix.RemoveImage(t.Context(), "debian-13"); err != nil {
		t.Error(err)
	}
	if err := d.unix.RemoveImage(t.Context(), "debian-13"); !appliance.IsProblem(err, appliance.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestPruneImages(t *testing.T) {
	t.Parallel()
	d := start(t, newFake(), func(c *Config) { c.Machines = &fakeMachines{} })
	if _, err := NewTCPClient("http://"+d.addr, readToken).PruneImages(t.Context()); !appliance.IsProblem(err, appliance.ErrForbidden) {
		t.Errorf("got %v", err)
	}
	p, err := d.unix.PruneImages(t.Context())
	if err != nil || len(p.Removed) != 1 || p.Removed[0].Bytes != 7 {
		t.Errorf("got %+v, %v", p, err)
	}
	if p, err := d.unix.PruneImages(t.Context()); err != nil || p.Removed == nil || len(p.Removed) != 0 {
		t.Errorf("a repeat: %+v, %v", p, err)
	}
}

// An image is fetched while somebody waits for it: what is there stays.
func TestKeepImageEndsWithItsClient(t *testing.T) {
	t.Parallel()
	d := start(t, newFake(), func(c *Config) { c.Machines = &fakeMachines{wait: true} })
	ctx, cancel := context.WithCancel(t.Context())
	_, err := d.unix.KeepImage(ctx, ImageRequest{Name: "x"}, func(appliance.Progress) { cancel() })
	if err == nil {
		t.Error("it went on")
	}
}

func TestLoginNeedsAnAdmin(t *testing.T) {
	t.Parallel()
	d := start(t, newFake(), func(c *Config) { c.Machines = &fakeMachines{} })
	if l, err := d.unix.Login(t.Context(), "main", "node1"); err != nil || l.Key != "sesame" {
		t.Errorf("got %v", err)
	}
	reader := NewTCPClient("http://"+d.addr, readToken)
	if _, err := reader.Login(t.Context(), "main", "node1"); !appliance.IsProblem(err, appliance.ErrForbidden) {
		t.Errorf("got %v", err)
	}
	if _, err := reader.KeepImage(t.Context(), ImageRequest{Name: "x"}, nil); !appliance.IsProblem(err, appliance.ErrForbidden) {
		t.Errorf("got %v", err)
	}
}

func TestUseOfAMachine(t *testing.T) {
	t.Parallel()
	d := start(t, newFake(), func(c *Config) { c.Machines = &fakeMachines{} })
	reader := NewTCPClient("http://"+d.addr, readToken)
	if u, err := reader.Use(t.Context(), "main", "node1"); err != nil || u.ProcessorSeconds != 1.5 {
		t.Errorf("got %+v, %v", u, err)
	}
	if _, err := reader.Use(t.Context(), "main", "node9"); !appliance.IsProblem(err, appliance.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestDestroyByTag(t *testing.T) {
	t.Parallel()
	f := &fakeMachines{}
	d := start(t, newFake(), func(c *Config) { c.Machines = f })
	var said string
	if err := d.unix.DestroyByTag(t.Context(), someUUID, func(p appliance.Progress) { said = p.Detail }); err != nil || said == "" || len(f.gone) != 1 {
		t.Errorf("got %q, %v, %v", said, f.gone, err)
	}
	for _, v := range corpus() {
		hostile(t, d, "DELETE /api/v1/tags/*", v)
		hostile(t, d, "GET /api/v1/clusters/main/members/*/login", v)
	}
	without := start(t, newFake(), nil)
	if _, err := without.unix.Images(t.Context()); !appliance.IsProblem(err, appliance.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}
