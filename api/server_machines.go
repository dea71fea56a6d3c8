package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"pgapp/appliance"
)

// ImageEntry is an image of the catalogue, or a kept image.
type ImageEntry struct {
	Name   string `json:"name,omitempty" yaml:"name,omitempty" doc:"what --image takes; none for what was only fetched by address"`
	Digest string `json:"digest" yaml:"digest" doc:"sha256:HEX or sha512:HEX"`
	// Kept is kept, partial (after an interrupted transfer), or absent.
	Kept       string     `json:"kept" yaml:"kept" enum:"kept,partial,absent"`
	Bytes      int64      `json:"bytes,omitempty" yaml:"bytes,omitempty"`
	ModifiedAt *time.Time `json:"modified_at,omitempty" yaml:"modified_at,omitempty"`
	URL        string     `json:"url,omitempty" yaml:"url,omitempty" doc:"where the catalogue's image comes from"`
}

// ImageRequest asks the daemon to keep an image: by its name in the catalogue,
// or from a file or an address, under the given name.
type ImageRequest struct {
	Name   string `json:"name,omitempty" required:"false" maxLength:"60" pattern:"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$" patternDescription:"a name: a-z, 0-9, . and -" doc:"a name of the catalogue; with a source, the name to give it"`
	Source string `json:"source,omitempty" required:"false" maxLength:"4096" doc:"absolute path on the daemon's machine, or an address"`
	Digest string `json:"digest,omitempty" required:"false" maxLength:"140" pattern:"^sha(256:[0-9a-f]{64}|512:[0-9a-f]{128})$" patternDescription:"sha256:HEX or sha512:HEX" doc:"needed for an address"`
}

// GuestLogin is how to log in to a member's machine.
type GuestLogin struct {
	Host    string `json:"host"`
	Port    int    `json:"port"`
	User    string `json:"user"`
	Key     string `json:"key" doc:"OpenSSH private key"`
	HostKey string `json:"host_key" doc:"the machine's public key, as in known_hosts"`
}

// MachineUse is what a member's machine has used of its host.
type MachineUse struct {
	ProcessorSeconds float64 `json:"processor_seconds" doc:"time that the host's processors have worked for the machine since it was started"`
}

// PrunedImages lists the volumes that were removed from libvirt's pool.
type PrunedImages struct {
	Removed []PrunedImage `json:"removed" yaml:"removed"`
}

// PrunedImage is a removed volume.
type PrunedImage struct {
	Name  string `json:"name" yaml:"name" doc:"the volume's"`
	Bytes int64  `json:"bytes" yaml:"bytes" doc:"what it took on disk"`
}

// Machines offers the work on virtual machines that is no operation on a
// cluster. Reports may come from several goroutines.
type Machines interface {
	Images(ctx context.Context) ([]ImageEntry, error)
	// KeepImage fetches or copies the image and checks its digest. A repeat is
	// safe and resumes an interrupted transfer.
	KeepImage(ctx context.Context, req ImageRequest, report appliance.Report) (ImageEntry, error)
	// RemoveImage removes the name, and the image if it has no other name.
	RemoveImage(ctx context.Context, name string) error
	// PruneImages removes volumes from libvirt's pool that were made from images
	// and that no machine uses. A repeat does nothing.
	PruneImages(ctx context.Context) (PrunedImages, error)
	Login(ctx context.Context, cluster, member string) (GuestLogin, error)
	Use(ctx context.Context, cluster, member string) (MachineUse, error)
	// DestroyByTag removes the remains of a cluster that has no record here.
	DestroyByTag(ctx context.Context, uuid string, report appliance.Report) error
}

// taskEvent is an event of a request whose work goes on while the request is
// open. The last event has Done or Error.
type taskEvent struct {
	Progress *appliance.Progress `json:"progress,omitempty"`
	Image    *ImageEntry         `json:"image,omitempty"`
	Done     bool                `json:"done,omitempty"`
	Error    *ProblemDetails     `json:"error,omitempty"`
}

// reportEvery is the shortest time between two progress events.
const reportEvery = 100 * time.Millisecond

const (
	imagesPath = base + "/images"
	tagsPath   = base + "/tags/"
)

func taskResponse(description string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: description,
		Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
}

// registerMachines adds the routes of [Machines]. Keeping an image and removing
// by tag belong to no cluster, so they are no operations: the work goes on while
// the request is open, and a repeat resumes it.
func (s *Server) registerMachines(api *routes) {
	type none struct{}
	route(api, huma.Operation{
		OperationID: "list-images", Method: http.MethodGet, Path: imagesPath, Summary: "The catalogue's images and those that are kept",
	}, attributes{access: readers}, func(ctx context.Context, _ *none) (*bodyOutput[[]ImageEntry], error) {
		m, err := s.machines()
		if err != nil {
			return nil, err
		}
		l, err := m.Images(ctx)
		return &bodyOutput[[]ImageEntry]{list(l)}, err
	})
	type keepInput struct{ Body ImageRequest }
	route(api, huma.Operation{
		OperationID: "keep-image", Method: http.MethodPost, Path: imagesPath, Summary: "Fetch or copy an image and check its digest; goes on while the request is open",
		Responses: taskResponse(`data: {"progress"}, at last {"done","image"} or {"error"}`),
	}, attributes{access: admins, body: wholeBody, stream: true}, func(ctx context.Context, in *keepInput) (*huma.StreamResponse, error) {
		return s.task(ctx, func(ctx context.Context, m Machines, report appliance.Report) (*ImageEntry, error) {
			e, err := m.KeepImage(ctx, in.Body, report)
			return &e, err
		})
	})
	type removeInput struct {
		Name string `path:"name" maxLength:"140" pattern:"^[a-z0-9]([a-z0-9.:-]*[a-z0-9])?$" patternDescription:"a name or digest" doc:"name or digest"`
	}
	route(api, huma.Operation{
		OperationID: "remove-image", Method: http.MethodDelete, Path: imagesPath + "/{name}", Summary: "Remove an image that is kept", DefaultStatus: http.StatusNoContent,
	}, attributes{access: admins}, func(ctx context.Context, in *removeInput) (*struct{}, error) {
		m, err := s.machines()
		if err != nil {
			return nil, err
		}
		return nil, m.RemoveImage(ctx, in.Name)
	})
	route(api, huma.Operation{
		OperationID: "prune-images", Method: http.MethodPost, Path: imagesPath + "/prune",
		Summary: "Remove what was made of images in libvirt's pool and no machine uses",
	}, attributes{access: admins}, func(ctx context.Context, _ *none) (*bodyOutput[PrunedImages], error) {
		m, err := s.machines()
		if err != nil {
			return nil, err
		}
		p, err := m.PruneImages(ctx)
		p.Removed = list(p.Removed)
		return &bodyOutput[PrunedImages]{p}, err
	})
	s.registerGuests(api)
}

func (s *Server) registerGuests(api *routes) {
	route(api, huma.Operation{
		OperationID: "get-login", Method: http.MethodGet, Path: base + "/clusters/{cluster}/members/{member}/login",
		Summary: "How to log in to a member's machine, with its private key (scope admin)",
	}, attributes{access: admins}, askMachine(s, Machines.Login))
	route(api, huma.Operation{
		OperationID: "get-use", Method: http.MethodGet, Path: base + "/clusters/{cluster}/members/{member}/use",
		Summary: "What a member's machine has used of its host's processors",
	}, attributes{access: readers}, askMachine(s, Machines.Use))
	type tagInput struct {
		UUID string `path:"uuid" maxLength:"36" pattern:"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$" patternDescription:"a UUID in small letters" doc:"UUID of a cluster that has no record here"`
	}
	route(api, huma.Operation{
		OperationID: "delete-tagged", Method: http.MethodDelete, Path: tagsPath + "{uuid}",
		Summary:   "Remove the machines, disks and reservations that a cluster left whose record is lost; goes on while the request is open",
		Responses: taskResponse(`data: {"progress"}, at last {"done"} or {"error"}`),
	}, attributes{access: admins, stream: true}, func(ctx context.Context, in *tagInput) (*huma.StreamResponse, error) {
		return s.task(ctx, func(ctx context.Context, m Machines, report appliance.Report) (*ImageEntry, error) {
			return nil, m.DestroyByTag(ctx, in.UUID, report)
		})
	})
}

// askMachine answers a question about a member's machine.
func askMachine[T any](s *Server, ask func(m Machines, ctx context.Context, cluster, member string) (T, error)) func(context.Context, *MemberPath) (*bodyOutput[T], error) {
	return func(ctx context.Context, in *MemberPath) (*bodyOutput[T], error) {
		m, err := s.machines()
		if err != nil {
			return nil, err
		}
		out, err := ask(m, ctx, in.Cluster, in.Member)
		return &bodyOutput[T]{out}, err
	}
}

func (s *Server) machines() (Machines, error) {
	if s.cfg.Machines == nil {
		return nil, appliance.NewProblem(appliance.ErrNotFound, "this daemon has no virtual machines")
	}
	return s.cfg.Machines, nil
}

// task responds with the events of work: its progress and its outcome.
func (s *Server) task(ctx context.Context, work func(context.Context, Machines, appliance.Report) (*ImageEntry, error)) (*huma.StreamResponse, error) {
	m, err := s.machines()
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		ctx, cancel := s.gate.streamContext(ctx)
		defer cancel()
		w := writerOf(c)
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Accel-Buffering", "no")
		w.WriteHeader(http.StatusOK)
		out := &taskWriter{w: &streamWriter{w: w}, gone: cancel}
		stop := out.beat(ctx, s.gate.timing.beat)
		e, err := work(ctx, m, out.report)
		stop()
		last := taskEvent{Done: err == nil, Image: e}
		if err != nil {
			d := toDetails(appliance.AsProblem(err), 0, "body.")
			last = taskEvent{Error: &d}
		}
		out.send(last)
	}}, nil
}

// taskWriter writes a task's events.
type taskWriter struct {
	w    *streamWriter
	gone context.CancelFunc // called when the client has disconnected

	mu   sync.Mutex
	last time.Time
	said string
}

// report sends each new detail at once, and progress every reportEvery.
func (t *taskWriter) report(p appliance.Progress) {
	t.mu.Lock()
	skip := p.Detail == t.said && p.BytesDone != p.BytesTotal && time.Since(t.last) < reportEvery
	if !skip {
		t.last, t.said = time.Now(), p.Detail
	}
	t.mu.Unlock()
	if !skip {
		t.send(taskEvent{Progress: &p})
	}
}

func (t *taskWriter) send(e taskEvent) {
	data, err := json.Marshal(e)
	if err != nil {
		t.gone()
		return
	}
	t.write(fmt.Appendf(nil, "data: %s\n\n", data))
}

func (t *taskWriter) write(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.w.Write(b); err != nil {
		t.gone()
	}
}

// beat sends heartbeats until stop is called.
func (t *taskWriter) beat(ctx context.Context, every time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				t.write([]byte(": pgapp\n\n"))
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-done }
}
