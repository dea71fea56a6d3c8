package store_test

import (
	"testing"

	"pgapp/appliance"
	"pgapp/store"
	"pgapp/store/storetest"
)

func TestContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) appliance.Store { return open(t, t.TempDir()) })
}

// open opens the home's state and closes it at the end of the test.
func open(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
