package doctor

import "testing"

func TestAvailableBytes(t *testing.T) {
	t.Parallel()
	got, err := AvailableBytes([]byte("MemTotal:       2000000 kB\nMemFree: 1 kB\nMemAvailable:   1048576 kB\nBuffers: 3 kB\n"))
	if got != 1<<30 || err != nil {
		t.Errorf("got %d, %v; want 1 GiB", got, err)
	}
	for _, text := range []string{"MemTotal: 5 kB\n", "MemAvailable:", "MemAvailable: many kB\n"} {
		if got, err := AvailableBytes([]byte(text)); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
}
