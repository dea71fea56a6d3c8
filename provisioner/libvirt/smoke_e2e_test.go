//go:build e2e

package libvirt

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"pgapp/appliance"
)

func labProvider(t *testing.T) *Provider {
	t.Helper()
	if os.Getenv("PGAPP_LAB_IMAGE") == "" {
		t.Fatal("not in the lab: run it by 'scripts/lab exec go test -tags e2e ./provisioner/libvirt'")
	}
	p := New(Config{
		Host:      ThisMachine(),
		Secrets:   &fakeSecrets{},
		Documents: os.DirFS("../../embed/cloudinit"),
		ImageDir:  t.TempDir(), TempDir: t.TempDir(),
		BootLimit: 25 * time.Minute, BuildLimit: time.Hour,
	})
	t.Cleanup(p.Close)
	return p
}

func labCluster(t *testing.T, p *Provider, name string, standbys int) appliance.Cluster {
	t.Helper()
	spec := appliance.Spec{
		Name: name, Provider: appliance.ProviderLibvirt, Primary: appliance.PrimaryVM, Standbys: &standbys,
		Image: os.Getenv("PGAPP_LAB_IMAGE"), AptMirror: os.Getenv("PGAPP_LAB_APT"), MemoryMiB: 512,
	}.WithDefaults()
	if err := spec.Validate(); err != nil {
		t.Fatal(err)
	}
	c := appliance.Cluster{Name: name, UUID: uuid.NewString(), Spec: spec, Primary: "node0"}
	var names []string
	for i := range standbys + 1 {
		names = append(names, appliance.MemberName(i))
	}
	ms, err := p.Allocate(t.Context(), appliance.AllocateRequest{Spec: spec, Cluster: name, UUID: c.UUID, Names: names})
	if err != nil {
		t.Fatal(err)
	}
	c.Members = ms
	return c
}

// runSteps runs steps one after the other, asks Done afterwards, and says what
// took how long.
func runSteps(t *testing.T, steps []appliance.Step) {
	t.Helper()
	for _, s := range steps {
		begun := time.Now()
		if s.Done != nil {
			done, err := s.Done(t.Context())
			if err != nil {
				t.Fatalf("%s: Done: %v", s.ID, err)
			}
			if done {
				t.Logf("%-18s was done", s.ID)
				continue
			}
		}
		var last string
		err := s.Do(t.Context(), func(p appliance.Progress) {
			if p.Detail != last {
				last = p.Detail
				t.Logf("%-18s %6.1f s  %s", s.ID, time.Since(begun).Seconds(), last)
			}
		})
		if err != nil {
			p := appliance.AsProblem(err)
			t.Fatalf("%s: [%s] %v\n%s\n%s", s.ID, p.ID, p, p.Hint, p.Detail)
		}
		t.Logf("%-18s %6.1f s", s.ID, time.Since(begun).Seconds())
		if s.Done == nil {
			continue
		}
		if done, err := s.Done(t.Context()); err != nil || !done {
			t.Fatalf("%s: Done after Do: %v, %v", s.ID, done, err)
		}
	}
}

func virsh(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "virsh", append([]string{"-c", "qemu:///system"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("virsh %v: %v: %s", args, err, out)
	}
	return string(out)
}

func virshIn(ctx context.Context, args ...string) error {
	return exec.CommandContext(ctx, "virsh", append([]string{"-c", "qemu:///system"}, args...)...).Run()
}

// leftovers lists what still carries the cluster's UUID or name.
func leftovers(t *testing.T, c appliance.Cluster) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(virsh(t, "list", "--all", "--name")) {
		if strings.HasPrefix(line, prefix+c.Name+"-") {
			out = append(out, "domain "+line)
		}
	}
	if strings.Contains(virsh(t, "net-dumpxml", "default"), c.UUID[:shortUUID]) {
		out = append(out, "reservations")
	}
	for _, glob := range []string{poolPath + "/*" + c.UUID + "*", "/var/lib/libvirt/qemu/nvram/" + prefix + c.Name + "-*"} {
		files, _ := filepath.Glob(glob)
		out = append(out, files...)
	}
	return out
}

func TestSmoke(t *testing.T) {
	p := labProvider(t)
	c := labCluster(t, p, "smoke", 0)
	m := c.Members[0]
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		if err := p.DestroyByTag(ctx, c.UUID, func(appliance.Progress) {}); err != nil {
			t.Error(err)
		}
		p.Close()
	})
	runSteps(t, p.CreateSteps(c, c.Members))
	mc := p.Machine(c, m)
	first := facts(t, mc)
	t.Log(first)

	wrongHostKey(t, p, c, m)
	begun := time.Now()
	if err := p.StopMachine(t.Context(), c, m, func(appliance.Progress) {}); err != nil {
		t.Fatal(err)
	}
	t.Logf("stopped after %.1f s", time.Since(begun).Seconds())
	begun = time.Now()
	if err := p.StartMachine(t.Context(), c, m, func(appliance.Progress) {}); err != nil {
		t.Fatal(err)
	}
	t.Logf("started again after %.1f s", time.Since(begun).Seconds())
	if again := facts(t, mc); again != first {
		t.Errorf("after a reboot:\n%s\nbefore:\n%s", again, first)
	}
	if err := mc.Fence(t.Context()); err != nil {
		t.Error(err)
	}
	if running, err := mc.ServerRunning(t.Context()); err != nil || running {
		t.Errorf("a fenced machine: running %v, %v", running, err)
	}
	pruned(t, p, true)
	runSteps(t, p.DestroySteps(c, c.Members))
	pruned(t, p, false)
	if left := leftovers(t, c); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// pruned removes the images that nobody uses and wants those of the test's own
// machine to be there still, or no image at all.
func pruned(t *testing.T, p *Provider, used bool) {
	t.Helper()
	removed, err := p.PruneImages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for line := range strings.Lines(virsh(t, "-q", "vol-list", poolName)) {
		if f := strings.Fields(line); len(f) > 0 && isImage(strings.TrimSuffix(f[0], readySuffix)) {
			left = append(left, f[0])
		}
	}
	want := 0
	if used {
		want = 4 // the base and the golden image, and their markers
	}
	if len(left) != want {
		t.Errorf("removed %v, left %q", removed, left)
	}
}

// wrongHostKey meets the machine with another key in mind than it has.
func wrongHostKey(t *testing.T, p *Provider, c appliance.Cluster, m appliance.Member) {
	t.Helper()
	real, err := p.cfg.Secrets.Secrets(t.Context(), c.Name)
	if err != nil {
		t.Fatal(err)
	}
	other := &fakeSecrets{s: appliance.Secrets{Values: map[string]appliance.Secret{appliance.SecretSSHKey: real.Get(appliance.SecretSSHKey)}}}
	cfg := *p.cfg
	cfg.Secrets = other
	q := New(cfg)
	defer q.Close()
	if err := q.ensureKeys(t.Context(), c, c.Members); err != nil {
		t.Fatal(err)
	}
	if err := q.Machine(c, m).WriteFile(t.Context(), "/tmp/secret", []byte("secret"), 0o600); !appliance.IsProblem(err, appliance.ErrGuestHostKey) {
		t.Errorf("another host key: got %v", err)
	}
	if _, err := p.Machine(c, m).ReadFile(t.Context(), "/tmp/secret"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a secret was sent: %v", err)
	}
}

// facts are what a guest must keep over a reboot.
func facts(t *testing.T, mc appliance.Machine) string {
	t.Helper()
	r, err := mc.Run(t.Context(), appliance.Command{Argv: []string{
		"sh", "-c",
		`id -un; uname -n; cat /etc/ssh/ssh_host_*.pub; ls -d /var/lib/cloud/instances/*/user-data.txt 2>/dev/null; ls /etc/postgresql/17 2>/dev/null; ` +
			`/usr/lib/postgresql/17/bin/postgres --version; stat -c '%U %a %n' /var/lib/postgresql/pgapp/conf; systemctl is-enabled pgapp-postgres.service; ls /dev/vdb 2>/dev/null; true`,
	}})
	var exit *appliance.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(r.Stdout)
}
