package local

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// TestAskingForASignPutsOffTheNextLook asks for a member's sign as often as a daemon at rest
// does, and then no more.
func TestAskingForASignPutsOffTheNextLook(t *testing.T) {
	t.Parallel()
	p := selfProvider(t)
	m, other := made(t, p), made(t, p)
	other.member = "another"
	other.dir = filepath.Join(filepath.Dir(m.dir), "another")
	synctest.Test(t, func(t *testing.T) {
		var g glances
		next, others := time.NewTimer(glanceEvery), time.NewTimer(glanceEvery)
		remove := g.add(m, next)
		defer g.add(other, others)()
		for range 3 {
			time.Sleep(glanceEvery - time.Millisecond)
			g.putOff(m)
		}
		select {
		case <-next.C:
			t.Error("a look was due though somebody asked all the time")
		default:
		}
		select {
		case <-others.C:
		default:
			t.Error("the look at another member was put off")
		}
		begun := time.Now()
		<-next.C
		if took := time.Since(begun); took != afterSign {
			t.Errorf("the next look was due after %s, want %s", took, afterSign)
		}
		remove()
		next.Reset(glanceEvery)
		g.putOff(m)
		begun = time.Now()
		<-next.C
		if took := time.Since(begun); took != glanceEvery {
			t.Errorf("a watch that has ended was put off for %s", took)
		}
	})
}

// TestReadKernelReadsAllOfAFile reads files that are longer than what is asked for at once.
func TestReadKernelReadsAllOfAFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	for _, size := range []int{0, 1, 1023, 1024, 1025, 10000} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(i)
		}
		if err := os.WriteFile(file, want, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readKernel(file); string(got) != string(want) || err != nil {
			t.Errorf("of %d bytes %d were read: %v", size, len(got), err)
		}
	}
	if _, err := readKernel(file + ".missing"); !os.IsNotExist(err) {
		t.Errorf("a missing file: %v", err)
	}
}
