package appliance_test

import (
	"testing"

	"pgapp/appliance"
)

func TestQuorumRefusesWhatBreaksThePromise(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, value string
		refused     bool
	}{
		{"synchronous_commit", "on", false},
		{"synchronous_commit", "ON", false},
		{"synchronous_commit", "remote_apply", false},
		{"synchronous_commit", "remote_write", true},
		{"synchronous_commit", "local", true},
		{"synchronous_commit", "off", true},
		{"synchronous_commit", "", true},
		{"fsync", "tr", false},
		{"fsync", "off", true},
		{"full_page_writes", "1", false},
		{"full_page_writes", "no", true},
		{"recovery_min_apply_delay", "0", false},
		{"recovery_min_apply_delay", "0 min", false},
		{"recovery_min_apply_delay", "1", true},
		{"recovery_min_apply_delay", "0.5h", true},
		{"work_mem", "off", false},
	} {
		quorum := with(appliance.ProviderLocal, parameter(c.name, c.value))
		quorum.Durability = appliance.DurabilityAsync
		if err := quorum.Validate(); err != nil {
			t.Errorf("async with %s = %q: %v", c.name, c.value, err)
		}
		quorum.Durability = appliance.DurabilityQuorum
		if err := quorum.Validate(); (err != nil) != c.refused {
			t.Errorf("quorum with %s = %q: %v, want refused %t", c.name, c.value, err, c.refused)
		}
	}
}

func TestDurabilityIsOneOfTwoAndNeedsStandbys(t *testing.T) {
	t.Parallel()
	s := with(appliance.ProviderLocal, func(s *appliance.Spec) { s.Durability = "sync" })
	if err := s.Validate(); !appliance.IsProblem(err, appliance.ErrInvalidSpec) {
		t.Errorf("durability sync: %v", err)
	}
	none := 0
	s.Durability, s.Standbys = appliance.DurabilityQuorum, &none
	if err := s.Validate(); !appliance.IsProblem(err, appliance.ErrInvalidSpec) {
		t.Errorf("quorum without standbys: %v", err)
	}
	one := 1
	for _, c := range []struct {
		spec appliance.Spec
		want appliance.Durability
	}{
		{appliance.Spec{}, appliance.DurabilityQuorum},
		{appliance.Spec{Standbys: &one}, appliance.DurabilityAsync},
		{appliance.Spec{Standbys: &none}, appliance.DurabilityAsync},
		{appliance.Spec{Parameters: map[string]string{"synchronous_commit": "off"}}, appliance.DurabilityAsync},
		{appliance.Spec{Parameters: map[string]string{"synchronous_commit": "on"}}, appliance.DurabilityQuorum},
	} {
		if d := c.spec.WithDefaults().Durability; d != c.want {
			t.Errorf("the default durability of %+v is %q, want %q", c.spec, d, c.want)
		}
	}
}
