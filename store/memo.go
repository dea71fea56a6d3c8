package store

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
)

// memo remembers what was read since the last commit. The daemon reads the same records
// several times a second, and to look them up and decode them took a quarter of what it
// needs at rest. This process alone writes the database, so that it knows each commit. The
// zero value is ready for use.
type memo struct {
	// commits counts the transactions that may have changed something.
	commits atomic.Uint64

	mu sync.Mutex
	// of holds what was read when commits was at.
	of map[string]any
	at uint64
	// next is closed by the next commit.
	next chan struct{}
}

// committed notes a commit, before its caller learns of it.
func (m *memo) committed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.commits.Add(1)
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

// get returns what was put under the key since the last commit.
func (m *memo) get(key string) (any, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at != m.commits.Load() {
		return nil, false
	}
	v, ok := m.of[key]
	return v, ok
}

// put keeps what was read in a transaction that began when commits was at least at.
func (m *memo) put(key string, at uint64, v any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case at < m.at:
		return
	case at > m.at || m.of == nil:
		m.at, m.of = at, map[string]any{}
	}
	m.of[key] = v
}

// recall is view, but reads only once between two commits. What it returns is the caller's
// own, and an error is not remembered. The key says what is read, and in which form.
func recall[T any](ctx context.Context, s *Store, doing, key string, read func(*bolt.Tx) (T, error)) (out T, err error) {
	if err := ctx.Err(); err != nil {
		return out, fmt.Errorf("%s: %w", doing, err)
	}
	if known, ok := s.memo.get(key); ok {
		return deepCopy(known.(T)), nil
	}
	at := s.memo.commits.Load()
	err = s.view(ctx, doing, func(tx *bolt.Tx) (err error) {
		out, err = read(tx)
		return err
	})
	if err == nil {
		s.memo.put(key, at, deepCopy(out))
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
	if flat(v.Type()) {
		return
	}
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
			for i := 0; i < own.Len() && !flat(v.Type().Elem()); i++ {
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
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				detach(f)
			}
		}
	default:
	}
}

// flatTypes are the answers of flat, since the look at a type takes longer than the copy.
var flatTypes sync.Map //nolint:gochecknoglobals // types are the program's

// flat tells whether a value of the type refers to nothing that detach would copy.
func flat(t reflect.Type) bool {
	if known, ok := flatTypes.Load(t); ok {
		return known.(bool)
	}
	is := true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		is = false
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && !flat(f.Type) {
				is = false
			}
		}
	default:
	}
	flatTypes.Store(t, is)
	return is
}
