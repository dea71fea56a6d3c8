package libvirt

import (
	"context"
	"fmt"
	"io"
	"path"
	"sync"
	"time"

	"libvirt.org/go/libvirtxml"

	"pgapp/appliance"
	"pgapp/provisioner/libvirt/rpc"
)

// fake is a libvirt in memory. It keeps state, parses the XML that it is given
// and refuses what libvirt refuses.
type fake struct {
	mu      sync.Mutex
	domains map[string]*rpc.Domain
	texts   map[string]string
	live    map[string]libvirtxml.Domain
	// transient domains are forgotten when they end.
	transient map[string]bool
	pools     map[string]*rpc.Pool
	volumes   map[string]rpc.Volume
	data      map[string][]byte
	networks  map[string]*rpc.Network
	leases    []rpc.Lease

	// kvm says what KVM does: "" works, "absent", "refuses" at the start,
	// "pauses" right after it.
	kvm string
	// noMessage is how many of the next starts end without a word.
	noMessage int
	// deaf guests don't hear their power button; pressed counts who was asked.
	deaf    bool
	pressed int
	// files are those outside the pool.
	files map[string]bool
	// shortUpload loses a byte; failUpload fails at the end.
	shortUpload bool
	failUpload  error
	// failDestroy is the answer to a request to end a domain.
	failDestroy error
	// used is the domains' processor time.
	used   map[string]time.Duration
	events fakeEvents
}

func newFake() *fake {
	return &fake{
		domains: map[string]*rpc.Domain{}, texts: map[string]string{}, live: map[string]libvirtxml.Domain{}, transient: map[string]bool{}, files: map[string]bool{}, pools: map[string]*rpc.Pool{},
		volumes: map[string]rpc.Volume{}, data: map[string][]byte{}, networks: map[string]*rpc.Network{},
	}
}

func reparse[T any, P interface {
	*T
	Marshal() (string, error)
	Unmarshal(string) error
}](x T,
) (T, error) {
	var out T
	text, err := P(&x).Marshal()
	if err == nil {
		err = P(&out).Unmarshal(text)
	}
	return out, err
}

// find looks a domain up by its UUID or its name.
func (f *fake) find(key string) (*rpc.Domain, bool) {
	for _, d := range f.domains {
		if d.UUID == key && key != "" {
			return d, true
		}
	}
	d, ok := f.domains[key]
	return d, ok
}

// rename is virsh domrename.
func (f *fake) rename(from, to string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.domains[from]
	delete(f.domains, from)
	d.Name, d.XML.Name = to, to
	delete(f.texts, from)
	f.domains[to] = d
}

func (f *fake) Domain(_ context.Context, name string) (rpc.Domain, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.find(name)
	if !ok {
		return rpc.Domain{}, rpc.ErrNotFound
	}
	return *d, nil
}

func (f *fake) ProcessorTime(_ context.Context, name string) (time.Duration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.find(name)
	if !ok {
		return 0, rpc.ErrNotFound
	}
	return f.used[d.Name], nil
}

func (f *fake) Domains(context.Context) ([]rpc.Domain, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []rpc.Domain
	for _, d := range f.domains {
		out = append(out, *d)
	}
	return out, nil
}

func (f *fake) DefineDomain(_ context.Context, x libvirtxml.Domain) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	x, err := reparse(x)
	if err != nil {
		return err
	}
	old, ok := f.domains[x.Name]
	if ok && old.UUID != x.UUID {
		return fmt.Errorf("domain %q exists with another UUID", x.Name)
	}
	if other, found := f.find(x.UUID); found && other.Name != x.Name {
		return fmt.Errorf("domain %q exists with UUID %s", other.Name, x.UUID)
	}
	d := rpc.Domain{Name: x.Name, UUID: x.UUID, XML: x, State: rpc.DomainShutoff}
	if ok {
		d.State = old.State
	}
	f.domains[x.Name] = &d
	delete(f.texts, x.Name)
	return nil
}

func (f *fake) StartDomain(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.find(name)
	if !ok {
		return rpc.ErrNotFound
	}
	name = d.Name
	if f.noMessage > 0 {
		f.noMessage--
		return appliance.NewProblem(appliance.ErrLibvirt, "starting: %w", rpc.ErrNoMessage)
	}
	d.Saved, d.State = false, rpc.DomainRunning
	for _, disk := range d.XML.Devices.Disks {
		if !f.fileThere(rpc.SourceOf(disk)) {
			d.State = rpc.DomainShutoff
			return fmt.Errorf("no file %s", disk.Source.File.File)
		}
	}
	f.live[name] = d.XML
	if d.XML.Type == typeKVM {
		switch f.kvm {
		case "refuses":
			d.State = rpc.DomainShutoff
			return appliance.NewProblem(appliance.ErrHostNoKVM, "failed to set MSR 0x10a").WithHint("--accel tcg")
		case "pauses":
			d.State = rpc.DomainPaused
		}
	}
	console := path.Base(d.XML.Devices.Serials[0].Log.File)
	f.volumes[console] = rpc.Volume{Name: console, Path: poolPath + "/" + console}
	f.data[console] = []byte("GRUB\x1b[2J\r\nlogin:\n")
	return nil
}

func (f *fake) DestroyDomain(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failDestroy != nil {
		return f.failDestroy
	}
	if d, ok := f.find(name); ok {
		d.State = rpc.DomainShutoff
		if f.transient[d.Name] {
			delete(f.domains, d.Name)
		}
	}
	return nil
}

func (f *fake) RemoveManagedSave(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d, ok := f.find(name); ok {
		d.Saved = false
	}
	return nil
}

func (f *fake) UndefineDomain(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.find(name)
	if !ok {
		return nil
	}
	if !d.State.Off() {
		return rpc.ErrInactive
	}
	delete(f.domains, d.Name)
	return nil
}

func (f *fake) Capabilities(_ context.Context, kind string) (libvirtxml.DomainCaps, error) {
	if kind == typeKVM && f.kvm == "absent" {
		return libvirtxml.DomainCaps{}, appliance.NewProblem(appliance.ErrHostNoKVM, "no kvm")
	}
	return libvirtxml.DomainCaps{OS: &libvirtxml.DomainCapsOS{Enums: []libvirtxml.DomainCapsEnum{{Name: "firmware", Values: []string{"efi"}}}}}, nil
}

func (f *fake) Pool(_ context.Context, name string) (rpc.Pool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.pools[name]
	if !ok {
		return rpc.Pool{}, rpc.ErrNotFound
	}
	return *p, nil
}

func (f *fake) DefinePool(_ context.Context, x libvirtxml.StoragePool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	x, err := reparse(x)
	f.pools[x.Name] = &rpc.Pool{Name: x.Name, XML: x, Free: 100 << 30}
	return err
}

func (f *fake) StartPool(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.pools[name]
	if !ok {
		return rpc.ErrNotFound
	}
	p.Active = true
	return nil
}

func (f *fake) RefreshPool(context.Context, string) error { return nil }

func (f *fake) Volume(_ context.Context, pool, name string) (rpc.Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p, ok := f.pools[pool]; !ok {
		return rpc.Volume{}, rpc.ErrNotFound
	} else if !p.Active {
		return rpc.Volume{}, rpc.ErrInactive
	}
	v, ok := f.volumes[name]
	if !ok {
		return v, rpc.ErrNotFound
	}
	return v, nil
}

func (f *fake) Volumes(context.Context, string) ([]rpc.Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []rpc.Volume
	for _, v := range f.volumes {
		out = append(out, v)
	}
	return out, nil
}

func (f *fake) CreateVolume(_ context.Context, pool string, x libvirtxml.StorageVolume) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	x, err := reparse(x)
	if err != nil {
		return err
	}
	if _, ok := f.volumes[x.Name]; ok {
		return rpc.ErrExists
	}
	v := rpc.Volume{Name: x.Name, Path: f.pools[pool].XML.Target.Path + "/" + x.Name, Capacity: x.Capacity.Value}
	if x.BackingStore != nil {
		v.Backing = x.BackingStore.Path
	}
	f.volumes[x.Name] = v
	return nil
}

func (f *fake) Upload(_ context.Context, _, name string, r io.Reader, size int64) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failUpload != nil {
		return f.failUpload
	}
	if f.shortUpload {
		size--
	}
	v := f.volumes[name]
	v.Physical = uint64(size)
	f.volumes[name], f.data[name] = v, b
	return nil
}

func (f *fake) Download(_ context.Context, _, name string, _ uint64) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.data[name]
	if !ok {
		return nil, rpc.ErrNotFound
	}
	return b, nil
}

func (f *fake) ReadVolume(_ context.Context, _, name string, w io.Writer) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := w.Write(f.data[name])
	return err
}

func (f *fake) DeleteVolume(_ context.Context, _, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.volumes, name)
	delete(f.data, name)
	return nil
}

func (f *fake) Leans(context.Context) ([]rpc.Lean, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []rpc.Lean
	for _, v := range f.volumes {
		if v.Backing != "" {
			out = append(out, rpc.Lean{File: v.Backing, Volume: v.Path})
		}
	}
	for _, d := range f.domains {
		for _, file := range diskFiles(*d) {
			out = append(out, rpc.Lean{File: file, Domain: d.Name, UUID: d.UUID})
		}
	}
	return out, nil
}

func (f *fake) Version(context.Context) (string, error)    { return "11.3.0", nil }
func (f *fake) FreeMemory(context.Context) (uint64, error) { return 8 << 30, nil }
