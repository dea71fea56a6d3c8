package daemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"pgapp/appliance"
	"pgapp/appliance/doctor"
	"pgapp/appliance/home"
	"pgapp/embed/cloudinit"
	"pgapp/provisioner/libvirt"
	"pgapp/provisioner/local"
)

// providersOf makes the providers of the home. Without secrets no guest can be
// reached. The function closes their connections.
func providersOf(dir string, secrets libvirt.SecretStore) (map[appliance.ProviderKind]appliance.Provider, func(), error) {
	images := filepath.Join(dir, home.ImagesDir)
	temp := filepath.Join(images, "tmp")
	if secrets != nil {
		if err := os.MkdirAll(temp, 0o700); err != nil {
			return nil, nil, fmt.Errorf("making the directory for images: %w", err)
		}
	}
	lp := local.New(local.Config{Home: dir})
	vp := libvirt.New(libvirt.Config{
		Host: libvirt.ThisMachine(), Local: lp, LocalWatched: lp, Secrets: secrets, Documents: cloudinit.Files, ImageDir: images, TempDir: temp,
	})
	return map[appliance.ProviderKind]appliance.Provider{
		appliance.ProviderLocal: lp, appliance.ProviderLibvirt: vp,
	}, vp.Close, nil
}

// autoProvider chooses libvirt if the host can run machines, else local, and says
// why in one line.
func autoProvider(ctx context.Context, providers map[appliance.ProviderKind]appliance.Provider, s appliance.Spec) (appliance.ProviderKind, string) {
	s.Provider = appliance.ProviderLibvirt
	for _, f := range doctor.Run(ctx, s.WithDefaults(), providers[appliance.ProviderLibvirt]) {
		if f.Level == appliance.LevelFail {
			return appliance.ProviderLocal, "provider local, since virtual machines can't be had here: " + f.Summary
		}
	}
	return appliance.ProviderLibvirt, "provider libvirt"
}
