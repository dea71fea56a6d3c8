package postgres

import (
	"maps"
	"testing"
)

func TestLimitsRaise(t *testing.T) {
	t.Parallel()
	l := Limits{150, 8, 0, 64}
	for _, c := range []struct{ params, want map[string]string }{
		{nil, map[string]string{"max_connections": "150"}},
		{map[string]string{"max_connections": "90", "work_mem": "1MB"}, map[string]string{"max_connections": "150", "work_mem": "1MB"}},
		{map[string]string{"max_connections": "200"}, map[string]string{"max_connections": "200"}},
		{map[string]string{"max_connections": "150", "max_worker_processes": "4"}, map[string]string{"max_connections": "150", "max_worker_processes": "8"}},
		{map[string]string{"max_connections": "many"}, map[string]string{"max_connections": "many"}},
	} {
		before := maps.Clone(c.params)
		if got := l.Raise(c.params); !maps.Equal(got, c.want) || !maps.Equal(before, c.params) {
			t.Errorf("%v became %v, want %v", c.params, got, c.want)
		}
	}
	if got := (Limits{}).Raise(nil); len(got) != 0 {
		t.Errorf("without limits: %v", got)
	}
}
