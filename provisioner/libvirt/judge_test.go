package libvirt

import (
	"errors"
	"strings"
	"testing"

	"pgapp/appliance"
)

func TestJudgeCloudInitReadsStatus(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		code       int
		ok         bool
	}{
		{"done", `{"status":"done","errors":[]}`, 0, true},
		{"with warnings", `{"status":"done","extended_status":"degraded done","recoverable_errors":{"WARNING":["x"]}}`, 2, true},
		{"disabled by us", "", 0, true},
		{"failed", `{"status":"error","errors":["('ssh', boom)"]}`, 1, false},
		{"disabled by itself", `{"status":"disabled"}`, 0, false},
		{"gibberish", "Traceback", 1, false},
	} {
		err := judgeCloudInit("node1", tc.text, tc.code)
		if (err == nil) != tc.ok {
			t.Errorf("%s: got %v", tc.name, err)
		}
		if !tc.ok && !appliance.IsProblem(err, appliance.ErrGuestCloudInit) {
			t.Errorf("%s: got %v", tc.name, err)
		}
		if tc.name == "failed" && !strings.Contains(appliance.AsProblem(err).Detail, "boom") {
			t.Errorf("the errors aren't shown: %+v", err)
		}
	}
}

func TestJudgeFirewallReadsRules(t *testing.T) {
	t.Parallel()
	const docker = "table ip filter {\n chain FORWARD {\n type filter hook forward priority filter; policy drop;\n }\n}"
	const firewalld = "table inet firewalld {\n chain filter_INPUT {\n type filter hook input priority filter + 10; policy accept;\n }\n}"
	const closed = "table inet f {\n chain in {\n type filter hook input priority 0; policy drop;\n tcp dport 22 accept\n }\n}"
	const opened = "table inet f {\n chain in {\n type filter hook input priority 0; policy drop;\n tcp dport { 22, 5432 } accept\n }\n}"
	vm := appliance.Spec{Primary: appliance.PrimaryVM}
	for _, tc := range []struct {
		name, rules string
		spec        appliance.Spec
		warns       string
	}{
		{"nothing", "", appliance.Spec{}, ""},
		{"docker", docker, appliance.Spec{}, "host-forward"},
		{"firewalld", firewalld, appliance.Spec{}, "host-firewall"},
		{"closed", closed, appliance.Spec{}, "host-firewall"},
		{"open", opened, appliance.Spec{}, ""},
		{"closed, primary in a machine", closed, vm, ""},
	} {
		var warned []string
		for _, f := range judgeFirewall(tc.rules, tc.spec) {
			if f.Level == appliance.LevelWarn {
				warned = append(warned, f.ID)
				if f.Fix == "" {
					t.Errorf("%s: %s has no fix", tc.name, f.ID)
				}
			}
		}
		if got := strings.Join(warned, " "); got != tc.warns {
			t.Errorf("%s: warned %q, want %q", tc.name, got, tc.warns)
		}
	}
}

func TestDoctorFindings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := map[string]appliance.FindingLevel{}
	for _, f := range w.Doctor(t.Context(), appliance.Spec{}.WithDefaults()) {
		ids[f.ID] = f.Level
		if (f.Level == appliance.LevelFail || f.Level == appliance.LevelWarn) && f.Fix == "" {
			t.Errorf("%s has no fix", f.ID)
		}
	}
	for _, want := range []string{"libvirt-socket", "kvm-device", "kvm", "emulator", "libvirt-network", "libvirt-pool", "libvirt-memory", "libvirt-guests", "clock", "host-firewall"} {
		if ids[want] == "" {
			t.Errorf("no finding %s in %v", want, ids)
		}
	}
	if ids["libvirt-socket"] != appliance.LevelPass || ids["libvirt-network"] != appliance.LevelPass {
		t.Errorf("got %v", ids)
	}
}

func TestEmulatorsWordsKeepsQEMUsMessage(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`starting domain "d": internal error: qemu unexpectedly closed the monitor: 2026-11-25T23:43:01Z qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69 qemu-system-x86_64: kvm.c:3183: kvm_buf_set_msrs: Assertion failed.`: "error: failed to set MSR 0x10a to 0x69",
		"starting domain \"d\": internal error\n2026-11-25T23:43:01Z qemu-system-x86_64: no room": "no room",
		"the guest stopped under KVM": "the guest stopped under KVM",
	} {
		if got := emulatorsWords(errors.New(text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
