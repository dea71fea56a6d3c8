package libvirt

import (
	"context"
	"io"

	"libvirt.org/go/libvirtxml"

	"pgapp/provisioner/libvirt/rpc"
)

// hypervisor is what the provider needs of libvirt, in small interfaces: each
// part of the provider gets those that it needs. *rpc.Conn is the real one; the
// tests' fake keeps state and parses what it is given.
type hypervisor struct {
	domainCalls
	definitionCalls
	deviceCalls
	poolCalls
	volumeCalls
	networkCalls
	hostCalls
}

// hypervisorOf is the connection as all of these.
func hypervisorOf(c *rpc.Conn) hypervisor { return hypervisor{c, c, c, c, c, c, c} }

type domainCalls interface {
	Domain(ctx context.Context, name string) (rpc.Domain, error)
	Domains(ctx context.Context) ([]rpc.Domain, error)
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
	Capabilities(ctx context.Context, virtType string) (libvirtxml.DomainCaps, error)
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
	Leans(ctx context.Context) ([]rpc.Lean, error)
	RunDomain(ctx context.Context, d libvirtxml.Domain) error
}
