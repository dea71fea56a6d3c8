package bench

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/durable"
)

const (
	suffix = ".json"
	// randomDigits tell benches of one second apart.
	randomDigits = 4
)

// Records are the benches of a home: a file each, below Dir, which is made when it is
// needed.
type Records struct{ Dir string }

// NewID returns an id for a bench that begins now. Ids of different seconds sort by time.
func NewID(now time.Time) string {
	return now.UTC().Format("20060102-150405") + "-" + strings.ToLower(rand.Text()[:randomDigits])
}

// validID is what [NewID] makes. No other text gets near a path.
func validID(id string) bool {
	return regexp.MustCompile(`^\d{8}-\d{6}-[a-z2-7]{4}$`).MatchString(id)
}

func (r Records) path(id string) string { return filepath.Join(r.Dir, id+suffix) }

// Save writes the record, which is on disk when Save returns nil. After an error, and after
// a kill, the file is as it was before. A repeat is safe.
func (r Records) Save(b appliance.Bench) error {
	if !validID(b.ID) {
		return appliance.NewProblem(appliance.ErrInternal, "bench %q has no valid id", b.ID)
	}
	text, err := json.Marshal(b.Whole())
	if err == nil {
		err = os.MkdirAll(r.Dir, 0o700)
	}
	if err == nil {
		err = durable.WriteFile(r.path(b.ID), text)
	}
	if err != nil {
		return fmt.Errorf("saving bench %s: %w", b.ID, err)
	}
	return nil
}

// Load reads a record. An id that is not there is a problem not-found.
func (r Records) Load(id string) (appliance.Bench, error) {
	if !validID(id) {
		return appliance.Bench{}, notFound(id)
	}
	running, err := r.running()
	if err != nil {
		return appliance.Bench{}, err
	}
	return r.read(id, running.Bench)
}

func notFound(id string) error {
	return appliance.NewProblem(appliance.ErrNotFound, "no bench has the id %q", id).WithHint("pgapp bench ls shows them")
}

// read reads a record. One that says that its bench runs, while it doesn't, is one of a
// process that was killed.
func (r Records) read(id, running string) (b appliance.Bench, err error) {
	text, err := os.ReadFile(r.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return b, notFound(id)
	}
	if err == nil {
		err = json.Unmarshal(text, &b)
	}
	if err == nil && b.ID != id {
		err = fmt.Errorf("it is that of bench %q", b.ID)
	}
	if err != nil {
		return b, fmt.Errorf("reading bench %s in %s: %w", id, r.path(id), err)
	}
	if b.State == appliance.BenchRunning && id != running {
		b.State = appliance.BenchInterrupted
	}
	return b.Whole(), nil
}

// List returns the records, the newest first. A file that can't be read doesn't hide the
// others: they are returned beside the error that names it.
func (r Records) List() (all []appliance.Bench, err error) {
	entries, err := os.ReadDir(r.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return []appliance.Bench{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing benches: %w", err)
	}
	running, err := r.running()
	if err != nil {
		return nil, err
	}
	all = []appliance.Bench{}
	var errs []error
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok || !validID(id) {
			continue
		}
		b, err := r.read(id, running.Bench)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, b)
	}
	slices.SortFunc(all, func(x, y appliance.Bench) int { // ids of one second are in no order
		return cmp.Or(y.CreatedAt.Compare(x.CreatedAt), cmp.Compare(y.ID, x.ID))
	})
	return all, errors.Join(errs...)
}

// Remove removes a record. An id that is not there is a problem not-found. The bench that
// runs, and one whose cluster has still to be put back, are a problem conflict.
func (r Records) Remove(id string) error {
	if !validID(id) {
		return notFound(id)
	}
	running, err := r.running()
	if err != nil {
		return err
	}
	b, err := r.read(id, running.Bench)
	switch {
	case err == nil && b.State == appliance.BenchRunning:
		return appliance.NewProblem(appliance.ErrConflict, "bench %s runs", id).WithHint("pgapp bench cancel %s ends it", id)
	case err == nil && b.PutBackLeft():
		return appliance.NewProblem(appliance.ErrConflict, "what bench %s has changed of cluster %q is not put back yet, and its record says what that is", id, b.Cluster).
			WithHint("pgapp bench ls puts it back, or says why not")
	}
	err = os.Remove(r.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return notFound(id)
	}
	if err != nil {
		return fmt.Errorf("removing bench %s: %w", id, err)
	}
	return durable.SyncDir(r.Dir)
}
