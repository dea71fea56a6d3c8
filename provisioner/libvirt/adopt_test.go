package libvirt

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgapp/appliance"
)

// withImage is a world with a base and a golden image, both complete.
func withImage(t *testing.T) (w world, c appliance.Cluster, base, gold string) {
	t.Helper()
	w = newWorld(t)
	c = w.cluster(t, "main", uuidA, 1)
	c.Spec.Image = qcow2File(t, nil)
	if err := w.imaging.ensureBase(t.Context(), c.Spec, quiet); err != nil {
		t.Fatal(err)
	}
	digest, err := w.imaging.imageDigest(t.Context(), c.Spec)
	if err != nil {
		t.Fatal(err)
	}
	base, gold = baseName(digest), goldenName(digest)
	w.makeVolume(t, gold, poolPath+"/"+base)
	if err := w.disks.markComplete(t.Context(), gold); err != nil {
		t.Fatal(err)
	}
	w.fake.data[gold] = []byte("installed")
	return w, c, base, gold
}

func TestAdoptRestoresMarkersOfImagesInUse(t *testing.T) {
	t.Parallel()
	w, c, base, gold := withImage(t)
	w.makeVolume(t, volumeName(tag{UUID: uuidB, Cluster: "other", Member: "node0"}, volRoot), poolPath+"/"+gold)
	before := w.inventory()
	for _, v := range []string{base, gold} {
		delete(w.fake.volumes, v+readySuffix)
	}
	if err := w.imaging.ensureBase(t.Context(), c.Spec, quiet); err != nil {
		t.Fatal(err)
	}
	if err := w.ensureGolden(t.Context(), c, quiet); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, w.inventory()); diff != "" {
		t.Errorf("the pool differs from before (-want +got):\n%s", diff)
	}
	if string(w.fake.data[gold]) != "installed" {
		t.Error("the golden image was made anew below a clone")
	}
	if _, ok, err := w.imaging.golden(t.Context(), c.Spec); err != nil || !ok {
		t.Errorf("got complete %v, %v", ok, err)
	}
}

func TestAdoptRefusesToRebuildImagesInUse(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, w world, base, gold string){
		"a golden image without a member's disk": func(t *testing.T, w world, _, gold string) {
			t.Helper()
			delete(w.fake.volumes, gold+readySuffix)
			w.makeVolume(t, "report.qcow2", poolPath+"/"+gold)
		},
		"a base with another content": func(_ *testing.T, w world, base, _ string) {
			delete(w.fake.volumes, base+readySuffix)
			w.fake.data[base] = []byte("changed")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, c, base, gold := withImage(t)
			change(t, w, base, gold)
			before := w.inventory()
			err := w.imaging.ensureBase(t.Context(), c.Spec, quiet)
			if err == nil {
				err = w.ensureGolden(t.Context(), c, quiet)
			}
			if !appliance.IsProblem(err, appliance.ErrForeignObject) || !strings.Contains(err.Error(), "depends on") {
				t.Errorf("got %v, want a refusal", err)
			}
			if diff := cmp.Diff(before, w.inventory()); diff != "" {
				t.Errorf("the pool differs from before (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEnsureGoldenChecksBase(t *testing.T) {
	t.Parallel()
	w, c, base, gold := withImage(t)
	for _, v := range []string{gold, gold + readySuffix} {
		delete(w.fake.volumes, v)
	}
	w.fake.data[base] = []byte("changed")
	if err := w.ensureGolden(t.Context(), c, quiet); !appliance.IsProblem(err, appliance.ErrImageDigest) {
		t.Errorf("got %v, want %s", err, appliance.ErrImageDigest)
	}
	if ok, err := w.imaging.imageReady(t.Context(), c.Spec); err != nil || ok {
		t.Errorf("a changed base that nobody uses: got ready %v, %v", ok, err)
	}
}

func TestImageReadyRequiresBase(t *testing.T) {
	t.Parallel()
	w, c, base, _ := withImage(t)
	if ok, err := w.imaging.imageReady(t.Context(), c.Spec); err != nil || !ok {
		t.Errorf("got ready %v, %v", ok, err)
	}
	delete(w.fake.volumes, base)
	if ok, err := w.imaging.imageReady(t.Context(), c.Spec); err != nil || ok {
		t.Errorf("the base is gone: got ready %v, %v", ok, err)
	}
}

func TestUploadBaseChecksDigest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.disks.ensurePool(t.Context()); err != nil {
		t.Fatal(err)
	}
	digest := "sha256:" + strings.Repeat("0", 64)
	if err := w.imaging.uploadBase(t.Context(), qcow2File(t, nil), digest, quiet); !appliance.IsProblem(err, appliance.ErrImageDigest) {
		t.Errorf("got %v, want %s", err, appliance.ErrImageDigest)
	}
	if len(w.fake.volumes) != 0 {
		t.Errorf("left: %q", w.inventory())
	}
}
