package store

import (
	"fmt"
	"math/rand"
	"reflect"
	"sync"
	"testing"
	"testing/quick"
	"time"

	"pgapp/appliance"
)

// shared lists where both values refer to the same memory, which a change of one would
// change in the other.
func shared(path string, a, b reflect.Value) (out []string) {
	switch a.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		if a.IsNil() || b.IsNil() || a.Kind() != reflect.Pointer && a.Len() == 0 {
			return nil
		}
		if a.Pointer() == b.Pointer() {
			out = append(out, path)
		}
	default:
	}
	switch a.Kind() {
	case reflect.Pointer:
		out = append(out, shared(path, a.Elem(), b.Elem())...)
	case reflect.Slice:
		for i := range a.Len() {
			out = append(out, shared(fmt.Sprintf("%s[%d]", path, i), a.Index(i), b.Index(i))...)
		}
	case reflect.Map:
		for _, k := range a.MapKeys() {
			out = append(out, shared(fmt.Sprintf("%s[%v]", path, k), a.MapIndex(k), b.MapIndex(k))...)
		}
	case reflect.Struct:
		for i := range a.NumField() {
			if f := a.Type().Field(i); a.Type() != reflect.TypeFor[time.Time]() {
				out = append(out, shared(path+"."+f.Name, a.Field(i), b.Field(i))...)
			}
		}
	default:
	}
	return out
}

// full makes a value of the type in which nothing is nil or empty.
func full(t *testing.T, typ reflect.Type) reflect.Value {
	t.Helper()
	v := reflect.New(typ).Elem()
	switch typ.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(typ.Elem()))
		v.Elem().Set(full(t, typ.Elem()))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(typ, 2, 5))
		for i := range v.Len() {
			v.Index(i).Set(full(t, typ.Elem()))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(typ))
		v.SetMapIndex(full(t, typ.Key()), full(t, typ.Elem()))
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				f.Set(full(t, f.Type()))
			}
		}
	default:
		made, ok := quick.Value(typ, rand.New(rand.NewSource(1)))
		if !ok {
			t.Fatalf("no value of %s", typ)
		}
		v.Set(made)
	}
	return v
}

// TestWhatIsRememberedIsNobodyElses copies the records that are remembered, with nothing in
// them left out: the copies are equal and share no memory.
func TestWhatIsRememberedIsNobodyElses(t *testing.T) {
	t.Parallel()
	c := full(t, reflect.TypeFor[[]appliance.Cluster]()).Interface().([]appliance.Cluster)
	if own := deepCopy(c); !reflect.DeepEqual(own, c) {
		t.Errorf("the copy is %+v, want %+v", own, c)
	} else if both := shared("", reflect.ValueOf(c), reflect.ValueOf(own)); len(both) > 0 {
		t.Errorf("the copy of a cluster shares %v", both)
	}
	s := appliance.Secrets{Values: map[string]appliance.Secret{"a": appliance.NewSecret("x")}}
	if own := deepCopy(s); !reflect.DeepEqual(own, s) {
		t.Errorf("the copy is %+v, want %+v", own, s)
	} else if both := shared("", reflect.ValueOf(s), reflect.ValueOf(own)); len(both) > 0 {
		t.Errorf("the copy of secrets shares %v", both)
	}
}

// TestReadsFollowWrites reads beside writes. Whoever begins to read after a write has
// returned finds that write or a later one, also where others read all the time.
func TestReadsFollowWrites(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	c := appliance.Cluster{Name: "main", Members: []appliance.Member{{Name: "node0"}}}
	err := s.Begin(t.Context(), appliance.Beginning{
		Operation: appliance.Operation{ID: "op1", Cluster: "main", Kind: appliance.OpUp, State: appliance.OpRunning}, Create: &appliance.NewCluster{Cluster: c},
	})
	if err != nil {
		t.Fatal(err)
	}
	const writes = 50
	var mu sync.Mutex
	var written uint64
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				mu.Lock()
				least := written
				mu.Unlock()
				one, err := s.Cluster(t.Context(), "main")
				all, allErr := s.Clusters(t.Context())
				if err != nil || allErr != nil {
					t.Error(err, allErr)
					return
				}
				if one.Epoch < least || all[0].Epoch < one.Epoch {
					t.Errorf("read epochs %d and then %d after %d was written", one.Epoch, all[0].Epoch, least)
					return
				}
				one.Members[0].Name, all[0].Members[0].Name = "spoilt", "spoilt"
			}
		})
	}
	for i := range uint64(writes) {
		changed := s.Changed()
		c, err := s.UpdateCluster(t.Context(), "main", func(c *appliance.Cluster) error {
			c.Epoch = i + 1
			return nil
		})
		if err != nil || c.Members[0].Name == "spoilt" {
			t.Fatalf("%v, %s", err, c.Members[0].Name)
		}
		mu.Lock()
		written = i + 1
		mu.Unlock()
		select {
		case <-changed:
		default:
			t.Fatal("a write has returned, and nobody is told of it")
		}
	}
	close(done)
	readers.Wait()
	if c, err := s.Cluster(t.Context(), "main"); err != nil || c.Epoch != writes || c.Members[0].Name == "spoilt" {
		t.Fatalf("%+v, %v", c, err)
	}
}
