package appliance_test

import (
	"errors"
	"strings"
	"testing"

	"pgapp/appliance"
)

// with returns a valid spec of the provider, changed by edit.
func with(provider appliance.ProviderKind, edit func(*appliance.Spec)) appliance.Spec {
	s := appliance.Spec{Provider: provider}.WithDefaults()
	edit(&s)
	return s
}

func parameter(name, value string) func(*appliance.Spec) {
	return func(s *appliance.Spec) { s.Parameters = map[string]string{name: value} }
}

func TestValidateNamesEachWrongField(t *testing.T) {
	t.Parallel()
	const local, libvirt = appliance.ProviderLocal, appliance.ProviderLibvirt
	many := appliance.MaxStandbys + 1
	for _, c := range []struct {
		name     string
		provider appliance.ProviderKind
		edit     func(*appliance.Spec)
		field    string // empty: valid
	}{
		{"defaults", local, func(*appliance.Spec) {}, ""},
		{"defaults of machines", libvirt, func(*appliance.Spec) {}, ""},
		{"upper-case name", local, func(s *appliance.Spec) { s.Name = "Main" }, "name"},
		{"name ends in a hyphen", local, func(s *appliance.Spec) { s.Name = "a-" }, "name"},
		{"longest name", local, func(s *appliance.Spec) { s.Name = strings.Repeat("a", 40) }, ""},
		{"name too long", local, func(s *appliance.Spec) { s.Name = strings.Repeat("a", 41) }, "name"},
		{"unknown provider", "docker", func(*appliance.Spec) {}, "provider"},
		{"too many standbys", local, func(s *appliance.Spec) { s.Standbys = &many }, "standbys"},
		{"PostgreSQL's own database", local, func(s *appliance.Spec) { s.Database = "postgres" }, "database"},
		{"keyword of pg_hba.conf", local, func(s *appliance.Spec) { s.Database = "replication" }, "database"},
		{"quoted database", local, func(s *appliance.Spec) { s.Database = `a"b` }, "database"},
		{"unknown data set", local, func(s *appliance.Spec) { s.Dataset = "sakila" }, "dataset"},
		{"relative SQL file", local, func(s *appliance.Spec) { s.SQL = []string{"/a.sql", "b.sql"} }, "sql[1]"},
		{"control character in a path", local, func(s *appliance.Spec) { s.PostgresBin = "/a\nb" }, "postgres_bin"},
		{"locale without encoding", local, func(s *appliance.Spec) { s.Locale = "en_US" }, "locale"},
		{"parameter", local, parameter("work_mem", "8MB"), ""},
		{"parameter of an extension", local, parameter("auto_explain.log_min_duration", "1s"), ""},
		{"owned parameter", local, parameter("primary_conninfo", "host=x"), "parameters.primary_conninfo"},
		{"owned parameter by prefix", local, parameter("recovery_target_xid", "7"), "parameters.recovery_target_xid"},
		{"restore_command", local, parameter("restore_command", "false"), "parameters.restore_command"},
		{"archive_mode", local, parameter("archive_mode", "on"), "parameters.archive_mode"},
		{"archive_command", local, parameter("archive_command", "true"), "parameters.archive_command"},
		{"archive_library", local, parameter("archive_library", "basic_archive"), "parameters.archive_library"},
		{"upper-case parameter", local, parameter("Work_Mem", "8MB"), "parameters.Work_Mem"},
		{"line break in a parameter", local, parameter("work_mem", "8MB\nport = 1"), "parameters.work_mem"},
		{"endpoints off", local, func(s *appliance.Spec) { s.Endpoint = appliance.EndpointOff }, ""},
		{"the kernel's endpoints", local, func(s *appliance.Spec) { s.Endpoint = appliance.EndpointKernel }, ""},
		{"endpoints for everybody", local, func(s *appliance.Spec) { s.Endpoint = "0.0.0.0:5000" }, "endpoint"},
		{"no wait at the endpoints", local, func(s *appliance.Spec) { s.EndpointWait = "0s" }, ""},
		{"a wait without a unit", local, func(s *appliance.Spec) { s.EndpointWait = "10" }, "endpoint_wait"},
		{"a negative wait", local, func(s *appliance.Spec) { s.EndpointWait = "-1s" }, "endpoint_wait"},
		{"a negative lag", local, func(s *appliance.Spec) { s.ROLagMiB = -1 }, "ro_lag_mib"},
		{"reads on the primary at times", local, func(s *appliance.Spec) { s.ROPrimary = "sometimes" }, "ro_primary"},
		{"primary in a machine that local has not", local, func(s *appliance.Spec) { s.Primary = appliance.PrimaryVM }, "primary"},
		{"image URL with a password", libvirt, func(s *appliance.Spec) { s.Image = "https://u:p@example.org/i.qcow2" }, "image"},
		{"digest without algorithm", libvirt, func(s *appliance.Spec) { s.ImageDigest = strings.Repeat("a", 64) }, "image_digest"},
		{"loopback as first address", libvirt, func(s *appliance.Spec) { s.FirstAddress = "127.0.0.1" }, "first_address"},
		{"too little memory", libvirt, func(s *appliance.Spec) { s.MemoryMiB = 64 }, "memory_mib"},
		{"no processor", libvirt, func(s *appliance.Spec) { s.VCPUs = -1 }, "vcpus"},
	} {
		err := with(c.provider, c.edit).Validate()
		if c.field == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		var p *appliance.Problem
		if !errors.As(err, &p) || p.ID != appliance.ErrInvalidSpec || len(p.Fields) != 1 || p.Fields[0].Field != c.field {
			t.Errorf("%s: %v, want field %s alone", c.name, err, c.field)
		}
	}
}

func TestValidateListsAllWrongFieldsInOrder(t *testing.T) {
	t.Parallel()
	err := with(appliance.ProviderLocal, func(s *appliance.Spec) { s.Name, s.Database, s.Locale = "-", "", "x" }).Validate()
	var p *appliance.Problem
	if !errors.As(err, &p) || len(p.Fields) != 3 || p.Fields[0].Field != "database" || p.Fields[1].Field != "locale" || p.Fields[2].Field != "name" {
		t.Errorf("%v", err)
	}
}

func TestWithDefaultsIsIdempotent(t *testing.T) {
	t.Parallel()
	for _, provider := range []appliance.ProviderKind{"", appliance.ProviderLocal, appliance.ProviderLibvirt} {
		once := appliance.Spec{Provider: provider}.WithDefaults()
		twice := once.WithDefaults()
		if once.StandbyCount() != appliance.DefaultStandbys || twice.StandbyCount() != once.StandbyCount() || once.Image != twice.Image || once.Database != twice.Database {
			t.Errorf("provider %q: %+v, then %+v", provider, once, twice)
		}
		if (provider == appliance.ProviderLocal) != (once.Image == "") {
			t.Errorf("provider %q has image %q", provider, once.Image)
		}
	}
}

func TestVisibleQuotesAndCutsHostileText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"work_mem":               "work_mem",
		"größe":                  "größe",
		"a\x1b[2Jb":              `"a\x1b[2Jb"`,
		"a\nb":                   `"a\nb"`,
		`say "no"`:               `"say \"no\""`,
		"\xff":                   `"\xff"`,
		strings.Repeat("a", 20):  strings.Repeat("a", 20),
		strings.Repeat("a", 21):  `"` + strings.Repeat("a", 19) + "…",
		strings.Repeat("ä", 12):  `"` + strings.Repeat("ä", 9) + "…",
		strings.Repeat("\n", 99): `"` + strings.Repeat(`\n`, 9) + `\…`,
	} {
		if got := appliance.Visible(in, 20); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}
