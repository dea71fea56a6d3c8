package api

import (
	"context"
	"strings"
	"testing"
	"time"

	"pgapp/appliance"
)

// fakePauses notes the last pause.
type fakePauses struct {
	cluster string
	lasts   time.Duration
	paused  bool
	fail    error
}

func (f *fakePauses) Pause(_ context.Context, cluster string, lasts time.Duration) (appliance.Automation, error) {
	f.cluster, f.lasts, f.paused = cluster, lasts, true
	return appliance.Automation{Automatic: appliance.AutomaticPaused, Pause: &appliance.Pause{Since: time.Unix(0, 0).UTC()}}, f.fail
}

func (f *fakePauses) Resume(_ context.Context, cluster string) (appliance.Automation, error) {
	f.cluster, f.paused = cluster, false
	return appliance.Automation{Automatic: appliance.AutomaticOn}, f.fail
}

func TestPauseOverTheAPI(t *testing.T) {
	t.Parallel()
	p := &fakePauses{}
	d := start(t, newFake(), func(c *Config) { c.Pauses = p })
	const base = "/api/v1/clusters/main/"
	for _, tt := range []struct {
		body  string
		lasts time.Duration
	}{
		{"", 0},
		{"{}", 0},
		{`{"for":""}`, 0},
		{`{"for":"10m"}`, 10 * time.Minute},
		{`{"for":"1h30m"}`, 90 * time.Minute},
	} {
		p.lasts = -1
		_, body := request(t, d, "POST", base+"pause", tt.body, nil, 200, "")
		if p.lasts != tt.lasts || p.cluster != "main" || !strings.Contains(body, `"automatic":"paused","pause":{"since":"1970-01-01T00:00:00Z"}`) {
			t.Errorf("%s: lasts %s, %s", tt.body, p.lasts, body)
		}
	}
	p.cluster = ""
	for _, wrong := range []string{`{"for":"tomorrow"}`, `{"for":"0s"}`, `{"for":"-1m"}`, `{"for":10}`, `{"until":"10m"}`, `{"for":"` + strings.Repeat("1", 33) + `s"}`} {
		request(t, d, "POST", base+"pause", wrong, nil, 422, appliance.ErrInvalidSpec)
	}
	if p.cluster != "" {
		t.Error("a request that was refused has paused")
	}
	if _, body := request(t, d, "POST", base+"resume", "", nil, 200, ""); p.paused || !strings.Contains(body, `"automatic":"on"`) {
		t.Errorf("resume: %s", body)
	}
	p.fail = appliance.NewProblem(appliance.ErrConflict, "the spec has automatic off")
	request(t, d, "POST", base+"pause", "", nil, 409, appliance.ErrConflict)
	request(t, d, "POST", base+"resume", "", nil, 409, appliance.ErrConflict)
}

func TestClientPauses(t *testing.T) {
	t.Parallel()
	p := &fakePauses{}
	d := start(t, newFake(), func(c *Config) { c.Pauses = p })
	for _, lasts := range []time.Duration{0, 90 * time.Second} {
		a, err := d.unix.Pauses("main").Pause(t.Context(), lasts)
		if err != nil || a.Automatic != appliance.AutomaticPaused || a.Pause == nil || p.lasts != lasts || p.cluster != "main" {
			t.Errorf("pause for %s: %+v, %v, and the daemon has %+v", lasts, a, err, p)
		}
	}
	if a, err := d.unix.Pauses("main").Resume(t.Context()); err != nil || a.Automatic != appliance.AutomaticOn || p.paused {
		t.Errorf("resume: %+v, %v", a, err)
	}
}
