package libvirt

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	"github.com/google/go-cmp/cmp"

	"pgapp/appliance"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got); run with -update if that is meant:\n%s", name, diff)
	}
}

func someIdentity() identity {
	return identity{
		InstanceID: "7b1f0b2e-1111-4222-8333-444455556666", Hostname: "node1", MAC: "52:54:00:12:34:56",
		Address: netip.MustParsePrefix("192.168.122.101/24"), Gateway: netip.MustParseAddr("192.168.122.1"),
		UserKey:    "ssh-ed25519 AAAAuser",
		HostKey:    appliance.NewSecret("-----BEGIN OPENSSH PRIVATE KEY-----\nnot a key\n-----END OPENSSH PRIVATE KEY-----\n"),
		HostPublic: "ssh-ed25519 AAAAhost",
	}
}

func TestCloudInitDocuments(t *testing.T) {
	t.Parallel()
	files, err := someIdentity().documents(os.DirFS("../../embed/cloudinit"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"user-data", "meta-data", "network-config"} {
		golden(t, name, string(files[name]))
	}
}

// What comes from a user or a key can't break out of its value.
func TestDocumentsQuoteValues(t *testing.T) {
	t.Parallel()
	id := someIdentity()
	id.Hostname = "a: b\nusers: [{name: root}]\n#"
	files, err := id.documents(os.DirFS("../../embed/cloudinit"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(files["user-data"]), "\nusers: [") {
		t.Errorf("the host name broke out:\n%s", files["user-data"])
	}
}

func TestSeedImage(t *testing.T) {
	t.Parallel()
	files, err := someIdentity().documents(os.DirFS("../../embed/cloudinit"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	img, err := files.image(dir)
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if len(img)%512 != 0 || len(img) > 1<<20 {
		t.Errorf("the image has %d bytes", len(img))
	}
	iso, err := iso9660.Read(&memoryDisk{data: img}, int64(len(img)), 0, isoBlock)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(strings.Trim(iso.Label(), "\x00")); got != seedLabel {
		t.Errorf("got label %q, want %q", got, seedLabel)
	}
	for name, want := range files {
		f, err := iso.OpenFile("/"+name, os.O_RDONLY)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got bytes.Buffer
		if _, err := got.ReadFrom(f); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: got %d bytes, %v; want %d", name, got.Len(), err, len(want))
		}
	}
}

func TestDomainXML(t *testing.T) {
	t.Parallel()
	base := machineSpec{
		Tag: tag{UUID: uuidA, Cluster: "main", Member: "node1"}, Name: "pgapp-main-node1",
		UUID: "7b1f0b2e-1111-4222-8333-444455556666", MAC: "52:54:00:12:34:56", Network: "default",
		VCPUs: 2, MemoryMiB: 1024, Root: "/p/root.qcow2", Console: "/p/console.log", Cache: cacheRun,
	}
	kvm, tcg := base, base
	kvm.Type, kvm.EFI, kvm.Seed = typeKVM, true, seedPath(base.Tag)
	tcg.Type = typeTCG
	for name, spec := range map[string]machineSpec{"domain-kvm.xml": kvm, "domain-tcg.xml": tcg} {
		x, err := spec.domain()
		if err != nil {
			t.Fatal(err)
		}
		text, err := x.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, text+"\n")
		back, err := reparse(x)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := domainTag(back); !ok || got.UUID != uuidA || got.Member != "node1" || got.Cluster != "main" {
			t.Errorf("%s: got tag %+v, %v", name, got, ok)
		}
		if got := hasSeed(back, spec.Tag); got != (spec.Seed != "") {
			t.Errorf("%s: hasSeed is %v", name, got)
		}
	}
}

func TestDomainTagIgnoresForeignMetadata(t *testing.T) {
	t.Parallel()
	for _, m := range []string{
		"", "<x:y xmlns:x='urn:other'/>", "<object uuid='a' cluster='b'/>",
		"<o:object xmlns:o='urn:pgapp:libvirt:2' uuid='a'/>", "<broken",
	} {
		if got, ok := readTag(m); ok {
			t.Errorf("%q: got %+v", m, got)
		}
	}
	text, err := tag{UUID: uuidA, Cluster: `a"><b`, Member: "m"}.marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, ok := readTag("<other xmlns='urn:x'/>" + text)
	if !ok || got.Cluster != `a"><b` {
		t.Errorf("got %+v, %v from %s", got, ok, text)
	}
}
