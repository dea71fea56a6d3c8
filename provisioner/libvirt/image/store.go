package image

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"sync"
	"time"

	"pgapp/appliance"
)

const (
	suffix  = ".img"
	partial = ".partial"
	// chunk is how much is read between two checks of the context.
	chunk = 1 << 20
)

// Progress gets how many bytes of how many are done; total is 0 if unknown.
type Progress func(done, total int64)

// Store keeps fetched images in one directory, each under its digest. It is
// safe for concurrent use; two processes may fetch the same image.
type Store struct {
	dir string

	mu sync.Mutex
	// digests caches the digests of files, by the attributes that change with a
	// file.
	digests map[string]string
}

// NewStore makes a store over the directory, which has to exist once
// something is fetched.
func NewStore(dir string) *Store { return &Store{dir: dir, digests: map[string]string{}} }

// Entry is one stored image.
type Entry struct {
	Name     string    `json:"name" yaml:"name"`
	Digest   string    `json:"digest" yaml:"digest"`
	Bytes    int64     `json:"bytes" yaml:"bytes"`
	Modified time.Time `json:"modified" yaml:"modified"`
	// Partial is set if the fetch was cut off; a repeat resumes it.
	Partial bool `json:"partial,omitempty" yaml:"partial,omitempty"`
}

func (s *Store) path(digest string) string {
	return filepath.Join(s.dir, strings.Replace(digest, ":", "-", 1)+suffix)
}

func newHash(digest string) (hash.Hash, string, error) {
	algorithm, want, _ := strings.Cut(digest, ":")
	switch {
	case regexp.MustCompile(`^sha256:[0-9a-f]{64}$`).MatchString(digest):
		return sha256.New(), want, nil
	case regexp.MustCompile(`^sha512:[0-9a-f]{128}$`).MatchString(digest):
		return sha512.New(), want, nil
	}
	return nil, "", fmt.Errorf("the digest %q of algorithm %q isn't sha256:HEX or sha512:HEX", digest, algorithm)
}

// Have tells whether the image is stored. It fetches nothing.
func (s *Store) Have(i Image) bool {
	if i.File != "" {
		_, err := os.Stat(i.File)
		return err == nil
	}
	_, err := os.Stat(s.path(i.Digest))
	return err == nil
}

// Ensure returns a file with the image, and the verified digest. It fetches the
// image if needed, and computes the digest of a file that comes without one. A
// repeat is safe and resumes a partial download.
func (s *Store) Ensure(ctx context.Context, i Image, progress Progress) (path, digest string, err error) {
	if i.File != "" {
		digest, err = s.fileDigest(ctx, i, progress)
		return i.File, digest, err
	}
	path = s.path(i.Digest)
	if _, err := os.Stat(path); err == nil {
		return path, i.Digest, nil
	}
	return path, i.Digest, s.pull(ctx, i, progress)
}

// Digest is Ensure's digest of a file, or the one that an image has.
func (s *Store) Digest(ctx context.Context, i Image) (string, error) {
	if i.File == "" {
		return i.Digest, nil
	}
	return s.fileDigest(ctx, i, nil)
}

func (s *Store) fileDigest(ctx context.Context, i Image, progress Progress) (string, error) {
	info, err := os.Stat(i.File)
	if errors.Is(err, fs.ErrNotExist) {
		return "", appliance.NewProblem(appliance.ErrImageMissing, "there is no image file %q", i.File)
	}
	if err != nil {
		return "", fmt.Errorf("looking at the image: %w", err)
	}
	key := fmt.Sprintf("%s %d %d %s", i.File, info.Size(), info.ModTime().UnixNano(), i.Digest)
	s.mu.Lock()
	known, ok := s.digests[key]
	s.mu.Unlock()
	if ok {
		return known, nil
	}
	f, err := os.Open(i.File)
	if err != nil {
		return "", fmt.Errorf("opening the image: %w", err)
	}
	defer func() { _ = f.Close() }()
	digest := i.Digest
	if digest == "" {
		digest = "sha256:" + strings.Repeat("0", 64)
	}
	sum, want, err := newHash(digest)
	if err != nil {
		return "", err
	}
	if err := copyTo(ctx, sum, f, 0, info.Size(), progress); err != nil {
		return "", fmt.Errorf("reading the image %q: %w", i.File, err)
	}
	got := hex.EncodeToString(sum.Sum(nil))
	if i.Digest != "" && got != want {
		return "", wrongDigest(i.File, want, got)
	}
	algorithm, _, _ := strings.Cut(digest, ":")
	s.mu.Lock()
	s.digests[key] = algorithm + ":" + got
	s.mu.Unlock()
	return algorithm + ":" + got, nil
}

func wrongDigest(what, want, got string) error {
	return appliance.NewProblem(appliance.ErrImageDigest, "the image %s has the digest %s, not %s", what, got, want).
		WithHint("don't use it: fetch it again, or give the publisher's current digest")
}

// copyTo copies until the end, or until ctx ends.
func copyTo(ctx context.Context, w io.Writer, r io.Reader, done, total int64, progress Progress) error {
	buf := make([]byte, chunk)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buf)
		if _, e := w.Write(buf[:n]); e != nil {
			return e
		}
		done += int64(n)
		if progress != nil && n > 0 {
			progress(done, total)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Import copies a file into the store, under its digest. A given digest is
// verified.
func (s *Store) Import(ctx context.Context, file, digest string, progress Progress) (Entry, error) {
	i := Image{Name: filepath.Base(file), File: file, Digest: digest}
	found, err := s.fileDigest(ctx, i, progress)
	if err != nil {
		return Entry{}, err
	}
	f, err := os.Open(file)
	if err != nil {
		return Entry{}, fmt.Errorf("opening the image: %w", err)
	}
	defer func() { _ = f.Close() }()
	part := s.path(found) + partial
	if err := s.keep(ctx, part, found, f, progress); err != nil {
		return Entry{}, fmt.Errorf("importing %q: %w", file, err)
	}
	info, err := os.Stat(s.path(found))
	if err != nil {
		return Entry{}, fmt.Errorf("importing %q: %w", file, err)
	}
	return Entry{Name: i.Name, Digest: found, Bytes: info.Size(), Modified: info.ModTime()}, nil
}

func (s *Store) keep(ctx context.Context, part, digest string, r io.Reader, progress Progress) error {
	out, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	if err := copyTo(ctx, out, r, 0, 0, progress); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	return s.finish(ctx, part, digest)
}

// finish checks a complete file on disk and gives it its name.
func (s *Store) finish(ctx context.Context, part, digest string) error {
	f, err := os.Open(part)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	sum, want, err := newHash(digest)
	if err != nil {
		return err
	}
	if err := copyTo(ctx, sum, f, 0, 0, nil); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		_ = os.Remove(part)
		return wrongDigest("that was fetched", want, got)
	}
	return os.Rename(part, s.path(digest))
}

// List lists the stored images, by name and digest.
func (s *Store) List() ([]Entry, error) {
	files, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the images: %w", err)
	}
	given, err := s.names()
	if err != nil {
		return nil, err
	}
	names := map[string][]string{}
	for _, i := range Catalogue() {
		names[i.Digest] = append(names[i.Digest], i.Name)
	}
	for name, digest := range given {
		names[digest] = append(names[digest], name)
	}
	var out []Entry
	for _, f := range files {
		name, isPartial := strings.CutSuffix(f.Name(), partial)
		name, ok := strings.CutSuffix(name, suffix)
		info, err := f.Info()
		if !ok || err != nil {
			continue
		}
		digest := strings.Replace(name, "-", ":", 1)
		e := Entry{Digest: digest, Bytes: info.Size(), Modified: info.ModTime(), Partial: isPartial}
		if len(names[digest]) == 0 {
			out = append(out, e)
		}
		for _, e.Name = range names[digest] {
			out = append(out, e)
		}
	}
	sort.Slice(out, func(a, b int) bool { return out[a].Name+out[a].Digest < out[b].Name+out[b].Digest })
	return out, nil
}

// Remove removes a stored image by a name or its digest. A digest removes all
// names; one of several names removes only that name. An absent image is a
// [appliance.Problem] with id not-found.
func (s *Store) Remove(name string) error {
	all, err := s.List()
	if err != nil {
		return err
	}
	given, err := s.names()
	if err != nil {
		return err
	}
	digest, isGiven := given[name]
	others := 0
	for _, e := range all {
		switch {
		case e.Name == name && name != "", e.Digest == name:
			digest = e.Digest
		}
	}
	for _, e := range all {
		if e.Digest == digest && e.Name != name && e.Name != "" {
			others++
		}
	}
	if digest == "" {
		return appliance.NewProblem(appliance.ErrNotFound, "there is no stored image %q", name).WithHint("see 'pgapp image ls'")
	}
	var paths []string
	for n, d := range given {
		if n == name || name == digest && d == digest {
			paths = append(paths, filepath.Join(s.dir, n+named))
		}
	}
	if !isGiven || others == 0 {
		paths = append(paths, s.path(digest), s.path(digest)+partial)
	}
	for _, p := range paths {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the image %s: %w", name, err)
		}
	}
	return nil
}
