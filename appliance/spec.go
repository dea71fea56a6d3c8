package appliance

// ProviderKind names a provider of machines.
type ProviderKind string

// The providers.
const (
	// ProviderAuto means libvirt if this host can start domains, else local. It
	// is resolved before a spec is stored.
	ProviderAuto    ProviderKind = "auto"
	ProviderLocal   ProviderKind = "local"
	ProviderLibvirt ProviderKind = "libvirt"
)

// Placement says where one member runs.
type Placement string

// The placements: a process on this machine, or a virtual machine.
const (
	PlacementLocal Placement = "local"
	PlacementVM    Placement = "vm"
)

// The values of [Spec.Primary].
const (
	PrimaryHost = "host"
	PrimaryVM   = "vm"
)

// The values of [Spec.Dataset].
const (
	DatasetPagila = "pagila"
	DatasetNone   = "none"
)

// The values of [Spec.Accel].
const (
	AccelAuto = "auto"
	AccelKVM  = "kvm"
	AccelTCG  = "tcg"
)

// Spec is the wanted cluster: the common form of `pgapp up`'s flags,
// cluster.yaml and the API's body. [Spec.WithDefaults] fills empty fields, and
// [Spec.Validate] refuses wrong ones.
type Spec struct {
	Name     string       `json:"name" yaml:"name" doc:"cluster name" example:"main"`
	Provider ProviderKind `json:"provider,omitempty" yaml:"provider,omitempty" doc:"auto, local or libvirt"`
	Standbys *int         `json:"standbys,omitempty" yaml:"standbys,omitempty" doc:"number of hot standbys (default 3)"`

	Database string   `json:"database,omitempty" yaml:"database,omitempty" doc:"name of the application's database (default pagila)"`
	Dataset  string   `json:"dataset,omitempty" yaml:"dataset,omitempty" doc:"pagila or none"`
	SQL      []string `json:"sql,omitempty" yaml:"sql,omitempty" doc:"SQL files on the daemon's machine, loaded in this order as superuser"`

	PostgresBin string     `json:"postgres_bin,omitempty" yaml:"postgres_bin,omitempty" doc:"directory with PostgreSQL 17's programs"`
	Locale      string     `json:"locale,omitempty" yaml:"locale,omitempty" doc:"C.UTF-8 (builtin provider) or a libc locale such as en_US.UTF-8"`
	Durability  Durability `json:"durability,omitempty" yaml:"durability,omitempty" doc:"async or quorum"`
	// OnLastStandby is what becomes of the promise where the last standby goes.
	OnLastStandby OnLastStandby     `json:"on_last_standby,omitempty" yaml:"on_last_standby,omitempty" doc:"block or degrade: under durability quorum, whether commits wait while no standby streams (default block)"`
	Automatic     Automatic         `json:"automatic,omitempty" yaml:"automatic,omitempty" doc:"on or off: whether pgapp replaces a dead primary and brings back members by itself"`
	Parameters    map[string]string `json:"parameters,omitzero" yaml:"parameters,omitempty" doc:"PostgreSQL parameters for every member"`

	EndpointSpec `yaml:",inline"`

	// The following fields are for provider libvirt only.
	Primary string `json:"primary,omitempty" yaml:"primary,omitempty" doc:"host or vm"`
	Image   string `json:"image,omitempty" yaml:"image,omitempty" doc:"image name of the catalogue, file or URL"`
	// ImageDigest is sha256:HEX or sha512:HEX of Image, if Image is a file or URL.
	ImageDigest string `json:"image_digest,omitempty" yaml:"image_digest,omitempty" doc:"sha256:HEX or sha512:HEX of the image"`
	Accel       string `json:"accel,omitempty" yaml:"accel,omitempty" doc:"auto, kvm or tcg"`
	AptMirror   string `json:"apt_mirror,omitempty" yaml:"apt_mirror,omitempty" doc:"package mirror for the guests"`
	AptProxy    string `json:"apt_proxy,omitempty" yaml:"apt_proxy,omitempty" doc:"HTTP proxy for the guests' package manager"`
	Network     string `json:"network,omitempty" yaml:"network,omitempty" doc:"libvirt network (default: default)"`
	// FirstAddress is node1's; node2 gets the next. Empty: .101 of the network.
	FirstAddress string `json:"first_address,omitempty" yaml:"first_address,omitempty" doc:"address of the first VM"`
	VCPUs        int    `json:"vcpus,omitempty" yaml:"vcpus,omitempty" doc:"virtual CPUs per VM"`
	MemoryMiB    int    `json:"memory_mib,omitempty" yaml:"memory_mib,omitempty" doc:"memory per VM in MiB"`
	DiskGiB      int    `json:"disk_gib,omitempty" yaml:"disk_gib,omitempty" doc:"disk per VM in GiB"`
}

// Defaults of a spec.
const (
	DefaultCluster   = "main"
	DefaultStandbys  = 3
	DefaultDatabase  = "pagila"
	DefaultLocale    = "C.UTF-8"
	DefaultNetwork   = "default"
	DefaultImage     = "ubuntu-24.04"
	DefaultVCPUs     = 2
	DefaultMemoryMiB = 1024
	DefaultDiskGiB   = 10
	// DrillDatabase is the database of pgapp drill, which exists while it runs.
	DrillDatabase = "pgapp_drill"
	// DefaultPort is PostgreSQL's own.
	DefaultPort = 5432
)

// WithDefaults returns the spec with each empty field set to its default. A repeat
// changes nothing.
func (s Spec) WithDefaults() Spec {
	str := func(p *string, d string) {
		if *p == "" {
			*p = d
		}
	}
	num := func(p *int, d int) {
		if *p == 0 {
			*p = d
		}
	}
	str(&s.Name, DefaultCluster)
	if s.Provider == "" {
		s.Provider = ProviderAuto
	}
	if s.Standbys == nil {
		n := DefaultStandbys
		s.Standbys = &n
	}
	str(&s.Database, DefaultDatabase)
	str(&s.Dataset, DatasetPagila)
	str(&s.Locale, DefaultLocale)
	if s.Durability == "" {
		s.Durability = s.defaultDurability()
	}
	if s.Automatic == "" {
		s.Automatic = AutomaticOn
	}
	s.EndpointSpec = s.EndpointSpec.WithDefaults()
	if s.Provider == ProviderLocal {
		return s
	}
	str(&s.Primary, PrimaryHost)
	str(&s.Image, DefaultImage)
	str(&s.Accel, AccelAuto)
	str(&s.Network, DefaultNetwork)
	num(&s.VCPUs, DefaultVCPUs)
	num(&s.MemoryMiB, DefaultMemoryMiB)
	num(&s.DiskGiB, DefaultDiskGiB)
	return s
}

// StandbyCount returns the wanted number of standbys, or the default.
func (s Spec) StandbyCount() int {
	if s.Standbys == nil {
		return DefaultStandbys
	}
	return *s.Standbys
}
