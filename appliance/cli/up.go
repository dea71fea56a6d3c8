package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"pgapp/appliance"
)

// upCommands create a cluster, change its form, and check the host for it.
type upCommands struct{ *app }

// upFlags are the flags of up. Those left out mean "as it is" on a cluster
// that exists, and the default on a new one.
type upFlags struct {
	file     string
	standbys int
	spec     appliance.Spec
	provider string
	timeout  time.Duration
	dryRun   bool
}

func (a upCommands) upCommand() *cobra.Command {
	f := &upFlags{}
	cmd := &cobra.Command{
		Use: "up", Short: "Create the cluster, or start it again",
		Long: `Create the cluster: a primary and its hot standbys, streaming, loaded and
verified. Repeating it on a cluster that exists starts what is stopped and goes
on where an interrupted creation stopped. With another number of standbys, or
other parameters in the file, or another durability, it brings the cluster to
them; with another size of virtual machines too, by a rolling restart. A disk
only grows. Parameters that take a restart go to the standbys first, and then
one of them becomes the primary, as with pgapp restart; a lower max_connections
or other limit, or other members or another size in the same up, restarts the
primary in place.

With --endpoint kernel, which needs root and nftables, the kernel leads the
endpoints' connections, with no process between. A kernel can't wait: new
connections are refused during a change of primary, until the next one is
verified. Reads go to a standby at random, and not to the one with the fewest
connections; a standby that is removed is not drained; Ctrl-C through the
endpoint for reads reaches one member only; connections have no limit, and those
that were cut are not counted. The endpoints of virtual machines are at this
host's address in their network, and still for this host only. The change from
on to kernel leaves connections as they are; the change back cuts them.`,
		Example: `  pgapp up
  pgapp up --standbys 2 --dataset none --database shop --sql schema.sql --sql data.sql
  zcat dump.sql.gz | pgapp up --dataset none --database shop --sql -
  pgapp up -f cluster.yaml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.up(cmd, f) },
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.file, "file", "f", "", "YAML file with the cluster's spec; flags override it")
	fl.StringVar(&f.provider, "provider", "", "auto, local or libvirt (default auto)")
	fl.StringVar(&f.spec.Primary, "primary", "", "libvirt: host or vm (default host)")
	fl.IntVar(&f.standbys, "standbys", appliance.DefaultStandbys, "number of hot standbys")
	fl.StringVar(&f.spec.Dataset, "dataset", "", "pagila or none (default pagila)")
	fl.StringVar(&f.spec.Database, "database", "", "name of the database (default pagila)")
	fl.StringArrayVar(&f.spec.SQL, "sql", nil, "SQL file to load as superuser, plain, compressed or of pg_dump; - is standard input; may be repeated")
	fl.StringVar(&f.spec.PostgresBin, "postgres-bin", "", "directory with PostgreSQL 17's programs")
	fl.StringVar(&f.spec.Locale, "locale", "", "C.UTF-8, or a locale such as en_US.UTF-8 (default C.UTF-8)")
	fl.StringVar((*string)(&f.spec.Durability), "durability", "", "async, or quorum: a commit waits for standbys (default quorum from two standbys on)")
	fl.StringVar((*string)(&f.spec.OnLastStandby), "on-last-standby", "", "block, or degrade: under quorum, commits don't wait while no standby streams (default block)")
	fl.StringVar((*string)(&f.spec.Automatic), "automatic", "", "on, or off: pgapp replaces no dead primary by itself (default on)")
	fl.StringVar((*string)(&f.spec.Endpoint), "endpoint", "", "on, off or kernel: an address for writes and one for reads that follow the primary by themselves (default on for a new cluster); kernel, for root, is faster, and refuses new connections during a change")
	fl.StringVar(&f.spec.EndpointWait, "endpoint-wait", "", "how long a new connection through an endpoint waits while no member takes it (default 10s)")
	fl.IntVar(&f.spec.ROLagMiB, "ro-lag", 0, "a standby that is further behind, in MiB, gets no new connections for reads (default 16)")
	fl.StringVar((*string)(&f.spec.ROPrimary), "ro-primary", "", "when the endpoint for reads leads to the primary: never, last or always (default last)")
	fl.StringVar(&f.spec.Image, "image", "", "libvirt: image of the catalogue, file or URL (default "+appliance.DefaultImage+")")
	fl.StringVar(&f.spec.ImageDigest, "image-digest", "", "libvirt: sha256:HEX or sha512:HEX of --image")
	fl.StringVar(&f.spec.Accel, "accel", "", "libvirt: auto, kvm or tcg (default auto)")
	fl.StringVar(&f.spec.AptMirror, "apt-mirror", "", "libvirt: package mirror for the guests")
	fl.StringVar(&f.spec.AptProxy, "apt-proxy", "", "libvirt: HTTP proxy of the guests' package manager")
	fl.StringVar(&f.spec.Network, "network", "", "libvirt: network of the guests (default "+appliance.DefaultNetwork+")")
	fl.IntVar(&f.spec.VCPUs, "vcpus", 0, "libvirt: virtual CPUs of each guest")
	fl.IntVar(&f.spec.MemoryMiB, "memory", 0, "libvirt: memory of each guest in MiB")
	fl.IntVar(&f.spec.DiskGiB, "disk", 0, "libvirt: disk of each guest in GiB")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show the steps, and do nothing")
	fl.DurationVar(&f.timeout, "timeout", 0, "stop waiting after this time; the operation continues (default: none)")
	return cmd
}

func (a upCommands) up(cmd *cobra.Command, f *upFlags) error {
	ctx := cmd.Context()
	spec, err := a.specOf(cmd, f)
	if err != nil {
		return err
	}
	streams, err := a.takeStreams(&spec)
	if err != nil {
		return err
	}
	// Refused here, before a daemon is started for it; the daemon checks again.
	if err := spec.WithDefaults().Validate(); err != nil {
		return err
	}
	if err := checkFiles(spec, streams); err != nil {
		return err
	}
	if f.timeout < 0 {
		return appliance.NewProblem(appliance.ErrUsage, "--timeout may not be negative")
	}
	if f.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.timeout)
		defer cancel()
	}
	start := time.Now()
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	if f.dryRun {
		o, err := c.Plan(ctx, spec)
		if err != nil {
			return err
		}
		return a.planned(o)
	}
	if err := a.sendStreams(ctx, c, spec, streams); err != nil {
		return err
	}
	o, err := c.Up(ctx, spec)
	if err != nil {
		return err
	}
	if _, err := a.follow(ctx, c, o); err != nil {
		return err
	}
	s, err := c.Status(ctx, o.Cluster)
	if err != nil {
		return err
	}
	return a.print(s, func() error { return a.ready(s, time.Since(start)) })
}

// ready prints the members and the commands to try next.
func (a upCommands) ready(s appliance.ClusterStatus, took time.Duration) error {
	a.note("\nCluster %q is %s after %.2f s: 1 primary, %d standbys.\n", s.Name, s.Phase, took.Seconds(), len(s.Members)-1)
	if err := a.memberTable(s); err != nil {
		return err
	}
	a.note("%s", a.examples(s))
	return nil
}

// examples are the commands to try next, as the user has to type them.
func (a upCommands) examples(s appliance.ClusterStatus) string {
	flag, query := "", "SELECT current_database()"
	if a.homeGiven {
		flag += " --home " + shellWord(a.home)
	}
	if s.Name != appliance.DefaultCluster {
		flag += " --cluster " + s.Name
	}
	if s.Spec != nil && s.Spec.Dataset == appliance.DatasetPagila {
		query = "SELECT count(*) FROM film"
	}
	return fmt.Sprintf(`
  psql     %[1]s psql%[2]s -- -c '%[3]s'
  connect  %[1]s url%[2]s --role rw
  next     %[1]s verify%[2]s · %[1]s ps%[2]s · %[1]s logs%[2]s · %[1]s down%[2]s`, programName(), flag, query)
}

// specOf puts file and flags together; a flag wins.
func (a upCommands) specOf(cmd *cobra.Command, f *upFlags) (appliance.Spec, error) {
	spec, err := readSpec(f.file)
	if err != nil {
		return spec, err
	}
	if spec.Name == "" || cmd.Flags().Changed("cluster") {
		spec.Name = a.cluster
	}
	if f.provider != "" {
		spec.Provider = appliance.ProviderKind(f.provider)
	}
	if f.spec.Durability != "" {
		spec.Durability = f.spec.Durability
	}
	if f.spec.OnLastStandby != "" {
		spec.OnLastStandby = f.spec.OnLastStandby
	}
	if f.spec.Automatic != "" {
		spec.Automatic = f.spec.Automatic
	}
	spec.EndpointSpec = spec.WithEndpoint(f.spec.EndpointSpec)
	if cmd.Flags().Changed("standbys") {
		spec.Standbys = &f.standbys
	}
	for _, p := range []struct{ to, from *string }{
		{&spec.Primary, &f.spec.Primary},
		{&spec.Dataset, &f.spec.Dataset},
		{&spec.Database, &f.spec.Database},
		{&spec.PostgresBin, &f.spec.PostgresBin},
		{&spec.Locale, &f.spec.Locale},
		{&spec.Image, &f.spec.Image},
		{&spec.ImageDigest, &f.spec.ImageDigest},
		{&spec.Accel, &f.spec.Accel},
		{&spec.AptMirror, &f.spec.AptMirror},
		{&spec.AptProxy, &f.spec.AptProxy},
		{&spec.Network, &f.spec.Network},
	} {
		if *p.from != "" {
			*p.to = *p.from
		}
	}
	for _, p := range []struct{ to, from *int }{
		{&spec.VCPUs, &f.spec.VCPUs}, {&spec.MemoryMiB, &f.spec.MemoryMiB}, {&spec.DiskGiB, &f.spec.DiskGiB},
	} {
		if *p.from != 0 {
			*p.to = *p.from
		}
	}
	if f.spec.SQL != nil {
		spec.SQL = f.spec.SQL
	}
	return spec, absolutePaths(&spec)
}

// absolutePaths resolves what the user named relative to the working
// directory, which the daemon doesn't share.
func absolutePaths(s *appliance.Spec) error {
	paths := []*string{&s.PostgresBin}
	for i := range s.SQL {
		paths = append(paths, &s.SQL[i])
	}
	if strings.ContainsRune(s.Image, filepath.Separator) && !strings.Contains(s.Image, "://") {
		paths = append(paths, &s.Image)
	}
	for _, p := range paths {
		if *p == "" || *p == stdinName {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return appliance.NewProblem(appliance.ErrUsage, "resolving %q: %w", *p, err)
		}
		*p = abs
	}
	return nil
}

func readSpec(file string) (appliance.Spec, error) {
	var spec appliance.Spec
	if file == "" {
		return spec, nil
	}
	const maxSize = 1 << 20
	b, err := os.ReadFile(file)
	if err != nil {
		return spec, appliance.NewProblem(appliance.ErrUsage, "reading the spec: %w", err)
	}
	if len(b) > maxSize {
		return spec, appliance.NewProblem(appliance.ErrTooLarge, "the spec %s is larger than 1 MiB", file)
	}
	if spec, err = decodeSpec(b); err != nil {
		p := appliance.NewProblem(appliance.ErrInvalidSpec, "%s is not a cluster's spec", file)
		return spec, p.WithDetail(yaml.FormatError(err, false, true))
	}
	base := filepath.Dir(file)
	for i, f := range spec.SQL {
		if !filepath.IsAbs(f) {
			spec.SQL[i] = filepath.Join(base, f)
		}
	}
	return spec, nil
}
