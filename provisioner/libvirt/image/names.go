package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"pgapp/appliance"
	"pgapp/appliance/durable"
)

// named ends the names of the files that hold the digest of a name.
const named = ".name"

var errNoName = errors.New("not a name")

// CheckName refuses an invalid image name, and the catalogue's names.
func CheckName(name string) error {
	if len(name) > 60 || !regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`).MatchString(name) || strings.Contains(name, "..") {
		return appliance.NewProblem(appliance.ErrUsage, "%q is not a valid image name", name).
			WithHint("a name has a-z, 0-9, . and -, at most 60 characters")
	}
	if slices.ContainsFunc(Catalogue(), func(i Image) bool { return i.Name == name }) {
		return appliance.NewProblem(appliance.ErrConflict, "%q is an image of the catalogue", name).WithHint("choose another name")
	}
	return nil
}

// SetName gives the image with that digest a name, which an older image loses.
// A repeat does nothing.
func (s *Store) SetName(name, digest string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(s.dir, name+named), []byte(digest+"\n")); err != nil {
		return fmt.Errorf("naming the image %q: %w", name, err)
	}
	return nil
}

// names maps the given names to digests.
func (s *Store) names() (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(s.dir, "*"+named))
	if err != nil {
		return nil, fmt.Errorf("listing the images' names: %w", err)
	}
	out := map[string]string{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the name of an image: %w", err)
		}
		out[strings.TrimSuffix(filepath.Base(f), named)] = strings.TrimSpace(string(b))
	}
	return out, nil
}

func (s *Store) nameOf(name string) (digest string, err error) {
	if CheckName(name) != nil {
		return "", errNoName
	}
	b, err := os.ReadFile(filepath.Join(s.dir, name+named))
	if errors.Is(err, fs.ErrNotExist) {
		return "", errNoName
	}
	if err != nil {
		return "", fmt.Errorf("reading the name of an image: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Find is [Find] that also knows the names given by SetName.
func (s *Store) Find(name, digest string) (Image, error) {
	known, err := s.nameOf(name)
	if errors.Is(err, errNoName) {
		return Find(name, digest)
	}
	if err != nil {
		return Image{}, err
	}
	i := Image{Name: name, Digest: known}
	if digest != "" && digest != known {
		return Image{}, appliance.NewProblem(appliance.ErrImageDigest, "the image %s has the digest %s, not %s", name, known, digest)
	}
	if !s.Have(i) {
		return Image{}, appliance.NewProblem(appliance.ErrImageMissing, "the image %s was removed", name).
			WithHint("import it again: pgapp image import FILE --name %s", name)
	}
	return i, nil
}

// Keep fetches the image, or copies its file. It names the image, unless the
// name is empty or the catalogue's. A repeat is safe.
func (s *Store) Keep(ctx context.Context, i Image, name string, progress Progress) (Entry, error) {
	if name != "" {
		if err := CheckName(name); err != nil {
			return Entry{}, err
		}
	}
	digest := i.Digest
	if i.File != "" {
		e, err := s.Import(ctx, i.File, i.Digest, progress)
		if err != nil {
			return Entry{}, err
		}
		digest = e.Digest
	} else if _, _, err := s.Ensure(ctx, i, progress); err != nil {
		return Entry{}, err
	}
	if name != "" {
		if err := s.SetName(name, digest); err != nil {
			return Entry{}, err
		}
	}
	all, err := s.List()
	if err != nil {
		return Entry{}, err
	}
	for _, e := range all {
		if e.Digest == digest && !e.Partial && (name == "" || e.Name == name) {
			return e, nil
		}
	}
	return Entry{}, appliance.NewProblem(appliance.ErrImageMissing, "the image was removed while it was being stored")
}
