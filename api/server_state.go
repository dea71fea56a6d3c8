package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"pgapp/appliance"
)

// statePath is where the routes of pgapp's own state begin.
const statePath = base + "/state"

// The headers with the secrets that seal or open an archive. Secrets don't
// belong into URLs, which are logged.
const (
	headerPassphrase = "Pgapp-Passphrase"
	headerIdentity   = "Pgapp-Identity"
)

const archiveType = "application/octet-stream"

// BackupRequest says how an archive of the state is sealed. One way is given.
type BackupRequest struct {
	// Recipients are age's public keys.
	Recipients []string
	Passphrase appliance.Secret
	// Plaintext seals nothing: the archive shows every secret.
	Plaintext bool
}

// Check returns a problem unless exactly one way of sealing is given.
func (r BackupRequest) Check() error {
	ways := 0
	for _, given := range []bool{len(r.Recipients) > 0, !r.Passphrase.Empty(), r.Plaintext} {
		if given {
			ways++
		}
	}
	if ways == 1 {
		return nil
	}
	return appliance.NewProblem(appliance.ErrUsage, "a backup is sealed in exactly one way, not %d", ways).
		WithHint("choose recipients, a passphrase or plaintext; plaintext shows every secret")
}

// RestoreRequest has the keys that open an archive, and says whether it may be of
// another instance. Without a key, the home's own is tried.
type RestoreRequest struct {
	Passphrase appliance.Secret
	// Identities are age's secret keys, separated by white space or commas.
	Identities appliance.Secret
	Adopt      bool
}

// RestoreResult is the outcome of a restore.
type RestoreResult struct {
	Instance string `json:"instance" yaml:"instance" doc:"UUID of the instance that the state is of"`
	// CreatedAt is when the archive was made.
	CreatedAt time.Time `json:"created_at" yaml:"created_at" doc:"when the archive was made"`
	Clusters  []string  `json:"clusters" yaml:"clusters" doc:"clusters to be adopted before anything can be changed"`
	Kept      string    `json:"kept,omitempty" yaml:"kept,omitempty" doc:"where the replaced state is kept"`
}

// BackupFile is an automatic backup of the state.
type BackupFile struct {
	Path      string    `json:"path" yaml:"path" doc:"on the daemon's machine"`
	Bytes     int64     `json:"bytes" yaml:"bytes"`
	CreatedAt time.Time `json:"created_at" yaml:"created_at"`
}

// StateReport is the outcome of a check of the state.
type StateReport struct {
	OK       bool           `json:"ok" yaml:"ok"`
	Instance string         `json:"instance,omitempty" yaml:"instance,omitempty"`
	Schema   int            `json:"schema,omitempty" yaml:"schema,omitempty"`
	Values   map[string]int `json:"values,omitempty" yaml:"values,omitempty" doc:"values by bucket"`
	Findings []string       `json:"findings" yaml:"findings" doc:"what is wrong, at most 50"`
}

// CompactResult is the outcome of a compaction.
type CompactResult struct {
	BytesBefore int64 `json:"bytes_before" yaml:"bytes_before"`
	BytesAfter  int64 `json:"bytes_after" yaml:"bytes_after"`
}

// State is pgapp's own state. Its methods may be called by several goroutines.
type State interface {
	// Backup writes an archive. After an error, the bytes written to w are
	// useless.
	Backup(ctx context.Context, req BackupRequest, w io.Writer) error
	// Restore reads and checks an archive, and replaces the state by it. After an
	// error nothing has changed; after success the daemon restarts itself.
	Restore(ctx context.Context, archive io.Reader, req RestoreRequest) (RestoreResult, error)
	// Backups lists the automatic backups, newest first.
	Backups(ctx context.Context) ([]BackupFile, error)
	// Check examines the state; a report that is not OK is no error.
	Check(ctx context.Context) (StateReport, error)
	// Compact frees unused space of the state. Then the daemon restarts itself.
	Compact(ctx context.Context) (CompactResult, error)
}

// Adopter takes over what really runs.
type Adopter interface {
	Adopt(ctx context.Context, cluster string) (appliance.Adoption, error)
}

// state returns the service behind the state's routes. All of these routes are
// for admins, also those that only read: the state holds every secret.
func (s *Server) state() (State, error) {
	if s.cfg.State == nil {
		return nil, appliance.NewProblem(appliance.ErrNotFound, "this daemon's state can't be managed through its API")
	}
	return s.cfg.State, nil
}

func (s *Server) registerState(api *routes) {
	s.registerBackup(api)
	s.registerRestore(api)
	type none struct{}
	route(api, huma.Operation{
		OperationID: "list-backups", Method: http.MethodGet, Path: statePath + "/backups", Summary: "List the automatic backups, newest first (scope admin)",
	}, attributes{access: admins, recovery: true}, func(ctx context.Context, _ *none) (*bodyOutput[[]BackupFile], error) {
		st, err := s.state()
		if err != nil {
			return nil, err
		}
		l, err := st.Backups(ctx)
		return &bodyOutput[[]BackupFile]{list(l)}, err
	})
	route(api, huma.Operation{
		OperationID: "check-state", Method: http.MethodPost, Path: statePath + "/check",
		Summary: "Examine the state; a report that is not ok is still a 200", DefaultStatus: http.StatusOK,
	}, attributes{access: admins, recovery: true}, func(ctx context.Context, _ *none) (*bodyOutput[StateReport], error) {
		st, err := s.state()
		if err != nil {
			return nil, err
		}
		r, err := st.Check(ctx)
		r.Findings = list(r.Findings)
		return &bodyOutput[StateReport]{r}, err
	})
	route(api, huma.Operation{
		OperationID: "compact-state", Method: http.MethodPost, Path: statePath + "/compact",
		Summary: "Give back the state's free pages; the daemon begins anew", DefaultStatus: http.StatusOK,
	}, attributes{access: admins}, func(ctx context.Context, _ *none) (*bodyOutput[CompactResult], error) {
		st, err := s.state()
		if err != nil {
			return nil, err
		}
		r, err := st.Compact(ctx)
		return &bodyOutput[CompactResult]{r}, err
	})
	route(api, huma.Operation{
		OperationID: "adopt-cluster", Method: http.MethodPost, Path: base + "/clusters/{cluster}/adopt",
		Summary: "Make the record say what unambiguously runs, as after a restore", DefaultStatus: http.StatusOK,
	}, attributes{access: admins}, func(ctx context.Context, in *ClusterPath) (*bodyOutput[appliance.Adoption], error) {
		if s.cfg.Adopter == nil {
			return nil, appliance.NewProblem(appliance.ErrNotFound, "this daemon can't adopt clusters")
		}
		a, err := s.cfg.Adopter.Adopt(ctx, in.Cluster)
		a.Notes = list(a.Notes)
		return &bodyOutput[appliance.Adoption]{a}, err
	})
}

func (s *Server) registerBackup(api *routes) {
	type backupInput struct {
		Recipients []string `query:"recipient,explode" maxItems:"20" doc:"age public keys that the archive is sealed to; may be repeated"`
		Plaintext  bool     `query:"plaintext" doc:"seal nothing: the archive shows every secret"`
		Passphrase string   `header:"Pgapp-Passphrase" maxLength:"1024" doc:"seal by this passphrase"`
	}
	route(api, huma.Operation{
		OperationID: "backup-state", Method: http.MethodGet, Path: statePath + "/backup",
		Summary: "An archive of the state, taken hot, sealed in exactly one way (scope admin)",
		Responses: map[string]*huma.Response{"200": {
			Description: "the archive: age around tar, or plain tar",
			Content:     map[string]*huma.MediaType{archiveType: {Schema: binary()}},
		}},
	}, attributes{access: admins, repeats: "recipient"}, func(ctx context.Context, in *backupInput) (*huma.StreamResponse, error) {
		st, err := s.state()
		if err != nil {
			return nil, err
		}
		req := BackupRequest{Recipients: in.Recipients, Passphrase: appliance.NewSecret(in.Passphrase), Plaintext: in.Plaintext}
		if err := req.Check(); err != nil {
			return nil, err
		}
		// The archive is complete before the first byte is sent, so that a failure
		// is still a problem and a slow client holds nothing but this memory.
		var out bytes.Buffer
		if err := st.Backup(ctx, req, &out); err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(c huma.Context) { sendWhole(writerOf(c), archiveType, &out) }}, nil
	})
}

// sendWhole sends what is complete in pieces, each with a deadline of its own.
func sendWhole(w http.ResponseWriter, media string, whole *bytes.Buffer) {
	const piece = 256 << 10
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Length", strconv.Itoa(whole.Len()))
	w.WriteHeader(http.StatusOK)
	out := &streamWriter{w: w}
	for whole.Len() > 0 {
		if _, err := out.Write(whole.Next(piece)); err != nil {
			return // the client notices by Content-Length
		}
	}
}

func binary() *huma.Schema { return &huma.Schema{Type: huma.TypeString, Format: "binary"} }

func (s *Server) registerRestore(api *routes) {
	type restoreInput struct {
		Adopt      bool   `query:"adopt" doc:"take the state of another instance too"`
		Passphrase string `header:"Pgapp-Passphrase" maxLength:"1024" doc:"what the archive was sealed by"`
		Identity   string `header:"Pgapp-Identity" maxLength:"8192" doc:"age secret keys, separated by commas; without any key the home's own is tried"`
	}
	route(api, huma.Operation{
		OperationID: "restore-state", Method: http.MethodPost, Path: restorePath,
		Summary:     "Put an archive in the state's place; everything is checked first, clusters are only observed until adopted",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{archiveType: {Schema: binary()}}}, DefaultStatus: http.StatusOK,
	}, attributes{access: admins, body: archiveBody, recovery: true}, func(ctx context.Context, in *restoreInput) (*bodyOutput[RestoreResult], error) {
		st, err := s.state()
		if err != nil {
			return nil, err
		}
		body, ok := ctx.Value(uploadKey{}).(io.Reader)
		if !ok {
			return nil, fmt.Errorf("restoring the state: the archive was not received")
		}
		r, err := st.Restore(ctx, body, RestoreRequest{
			Passphrase: appliance.NewSecret(in.Passphrase), Identities: appliance.NewSecret(splitIdentities(in.Identity)), Adopt: in.Adopt,
		})
		r.Clusters = list(r.Clusters)
		return &bodyOutput[RestoreResult]{r}, err
	})
}

// splitIdentities converts a header's list to lines.
func splitIdentities(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }), "\n")
}

// restorePath is the path for archives, which are too large for memory.
const restorePath = statePath + "/restore"

// maxUploadBytes is the limit of the archive format.
const maxUploadBytes = 1 << 30

type uploadKey struct{}

// upload streams the body to the handler. Each piece has to arrive in time.
func (g *gate) upload(next http.Handler, w http.ResponseWriter, r *http.Request) {
	body := &patientReader{r: http.MaxBytesReader(w, r.Body, maxUploadBytes), w: w, patience: g.timing.read}
	r = r.WithContext(context.WithValue(r.Context(), uploadKey{}, io.Reader(body)))
	r.Body = http.NoBody
	next.ServeHTTP(w, r)
}

// patientReader bounds the time for each piece instead of the time for all.
type patientReader struct {
	r        io.Reader
	w        http.ResponseWriter
	patience time.Duration
}

// Read reads the next piece.
func (p *patientReader) Read(b []byte) (int, error) {
	// Recorders in tests have no deadline, so the error is ignored.
	_ = http.NewResponseController(p.w).SetReadDeadline(time.Now().Add(p.patience))
	return p.r.Read(b)
}
