package store

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// memo remembers what was read since the last commit. The daemon reads the same records
// several times a second, and to look them up and decode them took a quarter of what it
// needs at rest. This process alone writes the database, so that it knows each commit. The
// zero value is ready for use.
type memo struct {
	mu sync.Mutex
	// of holds what was read since commits commits.
	of      map[string]any
	commits uint64
	// writing counts the transactions that may become visible: a read may find one or not,
	// and a later read must not find less. The next may begin before the last is noted.
	writing int
	// next is closed by the next commit.
	next chan struct{}
}

// begin forgets everything, and nothing is kept until commit.
func (m *memo) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of = nil
	m.writing++
}

// commit notes that the transaction has ended, before its caller learns of it.
func (m *memo) commit() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writing--
	m.commits++
	if m.next != nil {
		close(m.next)
		m.next = nil
	}
}

// changed returns a channel that the next commit closes.
func (m *memo) changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.next == nil {
		m.next = make(chan struct{})
	}
	return m.next
}

// get returns what was put under the key since the last commit, and the number of commits.
func (m *memo) get(key string) (v any, ok bool, commits uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok = m.of[key]
	return v, ok, m.commits
}

// put keeps what was read after get had told the number of commits.
func (m *memo) put(key string, commits uint64, v any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writing > 0 || commits != m.commits {
		return
	}
	if m.of == nil {
		m.of = map[string]any{}
	}
	m.of[key] = v
}

// recall is view, but reads only once between two commits. What it returns is the caller's
// own, and an error is not remembered. The key says what is read, and in which form.
func recall[T any](ctx context.Context, s *Store, doing, key string, read func(*bolt.Tx) (T, error)) (out T, err error) {
	if err := ctx.Err(); err != nil {
		return out, fmt.Errorf("%s: %w", doing, err)
	}
	known, ok, commits := s.memo.get(key)
	if ok {
		return deepCopy(known.(T)), nil
	}
	err = s.view(ctx, doing, func(tx *bolt.Tx) (err error) {
		out, err = read(tx)
		return err
	})
	if err == nil {
		s.memo.put(key, commits, deepCopy(out))
	}
	return out, err
}

// deepCopy copies pointers, slices, maps and structs with their exported fields. What else a
// struct refers to, as a time to its location, is shared, and has to be fixed.
func deepCopy[T any](v T) T {
	detach(reflect.ValueOf(&v).Elem())
	return v
}

// detach gives v, which can be set, copies of all that it refers to.
func detach(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			own := reflect.New(v.Type().Elem())
			own.Elem().Set(v.Elem())
			detach(own.Elem())
			v.Set(own)
		}
	case reflect.Slice:
		if !v.IsNil() {
			own := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
			reflect.Copy(own, v)
			for i := 0; i < own.Len() && refers(v.Type().Elem()); i++ {
				detach(own.Index(i))
			}
			v.Set(own)
		}
	case reflect.Map:
		if !v.IsNil() {
			own := reflect.MakeMapWithSize(v.Type(), v.Len())
			for key, value := range v.Seq2() {
				held := reflect.New(value.Type()).Elem()
				held.Set(value)
				detach(held)
				own.SetMapIndex(key, held)
			}
			v.Set(own)
		}
	case reflect.Struct:
		for _, i := range references(v.Type()) {
			detach(v.Field(i))
		}
	default:
	}
}

// refers tells whether a value of the type may refer to something that detach copies.
func refers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return true
	case reflect.Struct:
		return len(references(t)) > 0
	default:
		return false
	}
}

// referencesOf are the answers of references, for which most of a copy's time would go.
var referencesOf sync.Map //nolint:gochecknoglobals // types are the program's

// references are the numbers of the struct's exported fields that refer to something.
func references(t reflect.Type) []int {
	if known, ok := referencesOf.Load(t); ok {
		return known.([]int)
	}
	var out []int
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() && refers(f.Type) {
			out = append(out, i)
		}
	}
	referencesOf.Store(t, out)
	return out
}
