package image

import (
	"fmt"
	"path/filepath"
	"strings"

	"pgapp/appliance"
)

// Image is a disk image in qcow2 format, with its source and digest.
type Image struct {
	// Name is the catalogue's name, or a file's base name.
	Name string `json:"name" yaml:"name"`
	// URL is where it is fetched from; File is a file on this machine instead.
	URL  string `json:"url,omitempty" yaml:"url,omitempty"`
	File string `json:"file,omitempty" yaml:"file,omitempty"`
	// Digest is sha256:HEX or sha512:HEX. It may be empty for a file.
	Digest string `json:"digest,omitempty" yaml:"digest,omitempty"`
}

// Catalogue lists the images that pgapp knows. The URLs are dated, so that
// their content never changes. The distributions published the digests over
// HTTPS; Debian doesn't sign them.
func Catalogue() []Image {
	return []Image{
		{
			Name:   appliance.DefaultImage,
			URL:    "https://cloud-images.ubuntu.com/releases/noble/release-20260705/ubuntu-24.04-server-cloudimg-amd64.img",
			Digest: "sha256:ffe6203da54deeb6db5d2a98a83f9ec8e55f149d3f7ba622e1abe5fa966ee3d6",
		},
		{
			Name:   "debian-13",
			URL:    "https://cloud.debian.org/images/cloud/trixie/20260712-2537/debian-13-genericcloud-amd64-20260712-2537.qcow2",
			Digest: "sha512:7ae53e9dbee282bfc16f289dec483dde3a8598769c38a267948310f7a2a52c662620198603bc52c142627efba379863d16079698a10b34102d55bcedd40e8d32",
		},
	}
}

// Find resolves what a user calls an image: a name of the catalogue, a file's
// absolute path, or an address with its digest.
func Find(name, digest string) (Image, error) {
	switch {
	case filepath.IsAbs(name):
		return Image{Name: filepath.Base(name), File: name, Digest: digest}, nil
	case strings.HasPrefix(name, "http://"), strings.HasPrefix(name, "https://"):
		if digest == "" {
			return Image{}, &appliance.Problem{
				ID: appliance.ErrInvalidSpec, Message: "the cluster's spec is not valid",
				Fields: []appliance.FieldError{{Field: "image_digest", Message: "is required for an image from a URL"}},
				Hint:   "give the digest that its publisher gives, as sha256:HEX or sha512:HEX",
			}
		}
		return Image{Name: filepath.Base(name), URL: name, Digest: digest}, nil
	}
	var known []string
	for _, i := range Catalogue() {
		if i.Name == name && digest != "" && digest != i.Digest {
			return Image{}, appliance.NewProblem(appliance.ErrImageDigest, "the catalogue's image %s has the digest %s, not %s", name, i.Digest, digest)
		}
		if i.Name == name {
			return i, nil
		}
		known = append(known, i.Name)
	}
	return Image{}, appliance.NewProblem(appliance.ErrImageMissing, "there is no image %q in the catalogue", name).
		WithHint("%s", fmt.Sprintf("the catalogue has %s; or give a file or a URL", strings.Join(known, ", ")))
}
