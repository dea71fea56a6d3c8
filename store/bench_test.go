package store_test

import (
	"fmt"
	"sync"
	"testing"

	"pgapp/appliance"
	"pgapp/store"
	"pgapp/store/storetest"
)

// BenchmarkSaveOperation measures one save, by one writer and by several at
// once, which share transactions.
func BenchmarkSaveOperation(b *testing.B) {
	for _, writers := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s, err := store.Open(b.Context(), b.TempDir(), store.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			ops := beginMany(b, s, writers)
			b.ResetTimer()
			var wg sync.WaitGroup
			for _, op := range ops {
				wg.Go(func() {
					for range b.N / writers {
						op.Revision++
						if err := s.SaveOperation(b.Context(), op, false); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func beginMany(b *testing.B, s *store.Store, n int) []appliance.Operation {
	b.Helper()
	var ops []appliance.Operation
	for i := range n {
		name := fmt.Sprint("c", i)
		op := storetest.NewOperation("op-"+name, name)
		for len(op.Steps) < 20 {
			op.Steps = append(op.Steps, op.Steps[1])
		}
		if err := s.Begin(b.Context(), appliance.Beginning{Operation: op, Create: storetest.NewCluster(name)}); err != nil {
			b.Fatal(err)
		}
		ops = append(ops, op)
	}
	return ops
}

// BenchmarkCreate measures the first opening of a home.
func BenchmarkCreate(b *testing.B) {
	for range b.N {
		s, err := store.Open(b.Context(), b.TempDir(), store.Options{})
		if err != nil {
			b.Fatal(err)
		}
		_ = s.Close()
	}
}

// BenchmarkOpen measures a later one.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	for range b.N {
		s, err := store.Open(b.Context(), dir, store.Options{})
		if err != nil {
			b.Fatal(err)
		}
		_ = s.Close()
	}
}

// BenchmarkReadCluster reads a record that nobody has written since the last read.
func BenchmarkReadCluster(b *testing.B) {
	s, err := store.Open(b.Context(), b.TempDir(), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	begin := appliance.Beginning{Operation: storetest.NewOperation("op1", "main"), Create: storetest.NewCluster("main")}
	if err := s.Begin(b.Context(), begin); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Cluster(b.Context(), "main"); err != nil {
			b.Fatal(err)
		}
	}
}
