package libvirt

import (
	"context"
	"io"
	"time"

	"libvirt.org/go/libvirtxml"

	"pgapp/provisioner/libvirt/rpc"
)

// hypervisor is what the provider needs of libvirt, in small interfaces. Only
// assemble sees all of them: it gives each part those that the part calls.
// *rpc.Conn is the real libvirt; the tests' fake keeps state and parses XML.
type hypervisor struct {
	domainLookup
	powerCalls
	definitionCalls
	deviceCalls
	poolCalls
	volumeCalls
	networkCalls
	hostCalls
	watchCalls
}

// hypervisorOf gives the connection as a hypervisor.
func hypervisorOf(c *rpc.Conn) hypervisor { return hypervisor{c, c, c, c, c, c, c, c, c} }

type domainLookup interface {
	Domain(ctx context.Context, name string) (rpc.Domain, error)
	Domains(ctx context.Context) ([]rpc.Domain, error)
	ProcessorTime(ctx context.Context, name string) (time.Duration, error)
}

type powerCalls interface {
	StartDomain(ctx context.Context, name string) error
	ShutdownDomain(ctx context.Context, name string) error
	DestroyDomain(ctx context.Context, name string) error
	ResumeDomain(ctx context.Context, name string) error
	RemoveManagedSave(ctx context.Context, name string) error
	UndefineDomain(ctx context.Context, name string) error
}

type definitionCalls interface {
	DefineDomain(ctx context.Context, d libvirtxml.Domain) error
	Definition(ctx context.Context, name string) (string, error)
	RedefineDomain(ctx context.Context, name, text string) error
	LiveDomain(ctx context.Context, name string) (libvirtxml.Domain, error)
}

type deviceCalls interface {
	DetachDisk(ctx context.Context, domain, file string) error
	DiskThere(ctx context.Context, domain, target string) (bool, error)
	DiskSize(ctx context.Context, domain, target string) (uint64, error)
	ResizeDisk(ctx context.Context, domain, target string, size uint64) error
}

type poolCalls interface {
	Pool(ctx context.Context, name string) (rpc.Pool, error)
	DefinePool(ctx context.Context, x libvirtxml.StoragePool) error
	StartPool(ctx context.Context, name string) error
	RefreshPool(ctx context.Context, name string) error
}

type volumeCalls interface {
	Volume(ctx context.Context, pool, name string) (rpc.Volume, error)
	Volumes(ctx context.Context, pool string) ([]rpc.Volume, error)
	CreateVolume(ctx context.Context, pool string, x libvirtxml.StorageVolume) error
	Upload(ctx context.Context, pool, name string, r io.Reader, size int64) error
	Download(ctx context.Context, pool, name string, limit uint64) ([]byte, error)
	ReadVolume(ctx context.Context, pool, name string, w io.Writer) error
	DeleteVolume(ctx context.Context, pool, name string) error
	Leans(ctx context.Context) ([]rpc.Lean, error)
}

type networkCalls interface {
	Network(ctx context.Context, name string) (rpc.Network, error)
	DefineNetwork(ctx context.Context, x libvirtxml.Network) error
	StartNetwork(ctx context.Context, name string) error
	RemoveNetwork(ctx context.Context, name string) error
	AddHost(ctx context.Context, network string, host libvirtxml.NetworkDHCPHost) error
	RemoveHost(ctx context.Context, network string, host libvirtxml.NetworkDHCPHost) error
	Leases(ctx context.Context, network string) ([]rpc.Lease, error)
}

type hostCalls interface {
	Version(ctx context.Context) (string, error)
	FreeMemory(ctx context.Context) (uint64, error)
	RunDomain(ctx context.Context, d libvirtxml.Domain) error
	capabilityCalls
}

type capabilityCalls interface {
	Capabilities(ctx context.Context, virtType string) (libvirtxml.DomainCaps, error)
}

// watchCalls don't wait for a libvirt that is restarted.
type watchCalls interface {
	Condition(ctx context.Context, name string) (rpc.Condition, error)
	Follow(ctx context.Context, began func(), heard func(rpc.Event)) error
}
