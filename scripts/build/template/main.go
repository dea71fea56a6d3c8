// Command template makes the data directory that `up` copies: initialised, with
// Pagila loaded, frozen and analysed, cleanly stopped. It runs pgapp's own
// packages on the PostgreSQL tree of scripts/build/pgtree, and does nothing if
// the template already fits the tree, the data set and the code.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
	"pgapp/appliance/postgres/template"
	"pgapp/appliance/postgres/tree"
	"pgapp/embed/pagila"
	"pgapp/provisioner/local"
)

const treeDir = "embed/pgtree/tree"

// segmentBytes is PostgreSQL's default size of a WAL segment.
const segmentBytes = 16 << 20

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "template:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	m, err := tree.ReadManifest(os.DirFS(treeDir))
	if errors.Is(err, tree.ErrAbsent) {
		fmt.Fprintln(os.Stderr, "template: no PostgreSQL tree, so no template: up takes the long way")
		return nil
	}
	if err != nil {
		return err
	}
	inputs, err := inputsDigest()
	if err != nil {
		return err
	}
	want := template.Manifest{
		Tree: m.SHA256, Dataset: appliance.DatasetPagila, Database: appliance.DefaultDatabase,
		Locale: appliance.DefaultLocale, Inputs: inputs,
	}
	if current(want) {
		return nil
	}
	home, err := os.MkdirTemp("/var/tmp", "pgapp-template-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(home) }()
	if err := os.Chmod(home, 0o711); err != nil { // for the server's user
		return err
	}
	return build(ctx, home, want)
}

// inputsDigest is the digest of the template's inputs besides the tree: the data
// set and the code that loads it.
func inputsDigest() (string, error) {
	h := sha256.New()
	for _, f := range pagila.Files() {
		b, err := fs.ReadFile(pagila.FS, f)
		if err != nil {
			return "", err
		}
		h.Write(b)
	}
	for _, pattern := range []string{"appliance/postgres/*.go", "appliance/postgres/template/*.go", "scripts/build/template/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			b, err := os.ReadFile(f)
			if err != nil {
				return "", err
			}
			h.Write(b)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func current(want template.Manifest) bool {
	t, err := template.Open(os.DirFS(treeDir))
	if err != nil {
		return false
	}
	have := t.Manifest
	return have.Tree == want.Tree && have.Inputs == want.Inputs
}

func build(ctx context.Context, home string, m template.Manifest) error {
	bin, _, err := tree.Unpack(ctx, os.DirFS(treeDir), filepath.Join(home, "postgres"))
	if err != nil {
		return err
	}
	provider := local.New(local.Config{Home: home})
	none := 0
	spec := appliance.Spec{Name: "template", Provider: appliance.ProviderLocal, Standbys: &none}.WithDefaults()
	members, err := provider.Allocate(ctx, appliance.AllocateRequest{Spec: spec, Cluster: spec.Name, UUID: "template", Names: []string{"node0"}})
	if err != nil {
		return err
	}
	c := appliance.Cluster{Name: spec.Name, UUID: "template", Spec: spec, Primary: "node0", Members: members, PostgresBin: bin, PostgresTree: true}
	quiet := func(appliance.Progress) {}
	for _, s := range provider.CreateSteps(c, members) {
		if err := s.Do(ctx, quiet); err != nil {
			return fmt.Errorf("%s: %w", s.ID, err)
		}
	}
	mc := provider.Machine(c, members[0])
	err = fill(ctx, mc, c, members[0])
	if err == nil {
		m.Segment, err = lastSegment(ctx, mc)
	}
	if err == nil {
		m.SegmentBytes = segmentBytes
		err = template.Pack(ctx, mc.Layout().DataDir, treeDir, m)
	}
	for _, s := range provider.DestroySteps(c, members) {
		err = errors.Join(err, s.Do(ctx, quiet))
	}
	return err
}

// fill makes and loads the data directory, and stops the server cleanly.
func fill(ctx context.Context, mc appliance.Machine, c appliance.Cluster, m appliance.Member) error {
	secrets := appliance.GenerateSecrets()
	if err := postgres.Initdb(ctx, mc, postgres.InitOptions{Locale: c.Spec.Locale, SyncLater: true}); err != nil {
		return err
	}
	if err := postgres.Configure(ctx, mc, postgres.Config{
		Cluster: c.Name, Member: m.Name, Host: m.Host, Port: m.Port, Database: c.Spec.Database,
		Sources:            []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		ReplicatorPassword: secrets.Get(appliance.SecretReplicator),
	}); err != nil {
		return err
	}
	if err := mc.StartServer(ctx); err != nil {
		return err
	}
	if err := postgres.WaitAccepting(ctx, mc, m.Host, m.Port); err != nil {
		return err
	}
	if err := postgres.EnsureRoles(ctx, mc, m.Port, secrets, c.Spec.Database); err != nil {
		return err
	}
	if err := postgres.LoadDatabase(ctx, mc, m.Port, postgres.LoadOptions{Database: c.Spec.Database, Files: files()}, func(appliance.Progress) {}); err != nil {
		return err
	}
	if err := postgres.EnsureAccess(ctx, mc, m.Port, c.Spec.Database); err != nil {
		return err
	}
	for _, db := range []string{c.Spec.Database, postgres.MaintenanceDatabase, "template1"} {
		if _, err := postgres.SuperuserSQL(ctx, mc, m.Port, db, "VACUUM (FREEZE, ANALYZE);\n"); err != nil {
			return err
		}
	}
	// The build's passwords are removed; a cluster sets its own before anybody
	// can log in.
	const forget = "ALTER ROLE replicator PASSWORD NULL; ALTER ROLE rewind PASSWORD NULL; ALTER ROLE pgapp PASSWORD NULL; ALTER ROLE app PASSWORD NULL;\n"
	if _, err := postgres.SuperuserSQL(ctx, mc, m.Port, postgres.MaintenanceDatabase, forget+"CHECKPOINT; SELECT pg_switch_wal(); CHECKPOINT;\n"); err != nil {
		return err
	}
	return mc.StopServer(ctx, appliance.StopFast)
}

func files() []postgres.LoadFile {
	var out []postgres.LoadFile
	for _, f := range pagila.Files() {
		out = append(out, postgres.LoadFile{
			Name: f, AsOwner: true,
			Open: func() (io.ReadCloser, error) { return pagila.FS.Open(f) },
		})
	}
	return out
}

// lastSegment is the WAL segment with the shutdown checkpoint.
func lastSegment(ctx context.Context, mc appliance.Machine) (string, error) {
	l := mc.Layout()
	r, err := mc.Run(ctx, appliance.Command{Argv: []string{filepath.Join(l.BinDir, "pg_controldata"), l.DataDir}})
	if err != nil {
		return "", err
	}
	const key = "Latest checkpoint's REDO WAL file:"
	for _, line := range strings.Split(string(r.Stdout), "\n") {
		if rest, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(rest), nil
		}
	}
	text, _ := json.Marshal(string(r.Stdout))
	return "", fmt.Errorf("pg_controldata names no WAL segment: %s", text)
}
