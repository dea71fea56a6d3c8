package api

import (
	"bytes"
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"pgapp/appliance"
)

// Benches are measurements of clusters, each with a process of its own, and their reports.
// They are no operations: a bench takes no turn of its cluster, which has to fail over and
// to move its primary while it is measured.
type Benches interface {
	// Benches lists them, newest first, without what they measured; cluster may be empty.
	Benches(ctx context.Context, cluster string) ([]appliance.Bench, error)
	Bench(ctx context.Context, id string) (appliance.Bench, error)
	// StartBench returns when the bench is recorded, or refused. It goes on by itself.
	StartBench(ctx context.Context, cluster string, req appliance.BenchRequest) (appliance.Bench, error)
	// CancelBench asks a bench to end and doesn't wait; what it measured is kept.
	CancelBench(ctx context.Context, id string) (appliance.Bench, error)
	RemoveBench(ctx context.Context, id string) error
	// BenchReport returns the report: html, pdf, json or csv.
	BenchReport(ctx context.Context, id, format string) ([]byte, error)
}

// BenchPath names a bench.
type BenchPath struct {
	Bench string `path:"bench" maxLength:"20" pattern:"^[0-9]{8}-[0-9]{6}-[a-z2-7]{4}$" patternDescription:"the id of a bench" doc:"the bench's id" example:"20260301-120000-abcd"`
}

// benchTypes are the media types of a report's formats.
func benchTypes() map[string]string {
	return map[string]string{"html": "text/html; charset=utf-8", "pdf": "application/pdf", "json": "application/json", "csv": "text/csv; charset=utf-8"}
}

// reportPolicy lets a browser show the page: it has its styles in itself, and loads nothing.
const reportPolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; base-uri 'none'"

// benches returns the service behind the routes of benches.
func (s *Server) benches() (Benches, error) {
	if s.cfg.Benches == nil {
		return nil, appliance.NewProblem(appliance.ErrNotFound, "this daemon has no benches")
	}
	return s.cfg.Benches, nil
}

type benchOutput struct {
	Status     int
	Location   string `header:"Location" doc:"where the bench is"`
	RetryAfter string `header:"Retry-After" doc:"seconds until asking again makes sense"`
	Body       appliance.Bench
}

func begunBench(status int, b appliance.Bench) *benchOutput {
	out := &benchOutput{Status: status, Location: base + "/benches/" + b.ID, Body: b.Whole()}
	if b.State == appliance.BenchRunning {
		out.RetryAfter = "1"
	}
	return out
}

func (s *Server) registerBenches(api *routes) {
	type listInput struct {
		Cluster string `query:"cluster" maxLength:"40" doc:"only those of this cluster"`
	}
	route(api, huma.Operation{
		OperationID: "list-benches", Method: http.MethodGet, Path: base + "/benches", Summary: "List the benches, newest first, without what they measured",
	}, attributes{access: readers}, func(ctx context.Context, in *listInput) (*bodyOutput[[]appliance.Bench], error) {
		svc, err := s.benches()
		if err != nil {
			return nil, err
		}
		l, err := svc.Benches(ctx, in.Cluster)
		for i := range l {
			l[i] = l[i].Whole()
		}
		return &bodyOutput[[]appliance.Bench]{list(l)}, err
	})
	route(api, huma.Operation{
		OperationID: "get-bench", Method: http.MethodGet, Path: base + "/benches/{bench}", Summary: "A bench: its progress with the time that is left, and what it has measured",
	}, attributes{access: readers}, func(ctx context.Context, in *BenchPath) (*bodyOutput[appliance.Bench], error) {
		svc, err := s.benches()
		if err != nil {
			return nil, err
		}
		b, err := svc.Bench(ctx, in.Bench)
		return &bodyOutput[appliance.Bench]{b.Whole()}, err
	})
	registerBenchChanges(api, s.benches)
	registerBenchReport(api, s.benches)
}

func registerBenchChanges(api *routes, benches func() (Benches, error)) {
	type startInput struct {
		ClusterPath
		Body appliance.BenchRequest
	}
	route(api, huma.Operation{
		OperationID: "start-bench", Method: http.MethodPost, Path: base + "/clusters/{cluster}/benches",
		Summary:     "Measure the cluster under the load of a movie-rental site; one bench at a time",
		Description: "A run is one load, a suite a series of experiments, which change the cluster and put it back. Ask for the bench until its state is not running.", DefaultStatus: http.StatusAccepted,
	}, attributes{access: admins, body: wholeBody}, func(ctx context.Context, in *startInput) (*benchOutput, error) {
		svc, err := benches()
		if err != nil {
			return nil, err
		}
		b, err := svc.StartBench(ctx, in.Cluster, in.Body)
		if err != nil {
			return nil, err
		}
		return begunBench(http.StatusAccepted, b), nil
	})
	route(api, huma.Operation{
		OperationID: "cancel-bench", Method: http.MethodPost, Path: base + "/benches/{bench}/cancel",
		Summary: "Ask the bench that runs to end; what it has measured is kept, and the cluster put back", DefaultStatus: http.StatusAccepted,
	}, attributes{access: admins}, func(ctx context.Context, in *BenchPath) (*benchOutput, error) {
		svc, err := benches()
		if err != nil {
			return nil, err
		}
		b, err := svc.CancelBench(ctx, in.Bench)
		if err != nil {
			return nil, err
		}
		return begunBench(http.StatusAccepted, b), nil
	})
	route(api, huma.Operation{
		OperationID: "remove-bench", Method: http.MethodDelete, Path: base + "/benches/{bench}", Summary: "Remove a bench's record; one that runs is refused",
		DefaultStatus: http.StatusNoContent,
	}, attributes{access: admins}, func(ctx context.Context, in *BenchPath) (*struct{}, error) {
		svc, err := benches()
		if err != nil {
			return nil, err
		}
		return nil, svc.RemoveBench(ctx, in.Bench)
	})
}

func registerBenchReport(api *routes, benches func() (Benches, error)) {
	type reportInput struct {
		BenchPath
		Format string `query:"format" enum:"html,pdf,json,csv" default:"html" doc:"html: one page that needs nothing else; pdf: the same; json: the whole record; csv: a row for each second and kind of request"`
	}
	contents := map[string]*huma.MediaType{}
	for _, media := range benchTypes() {
		contents[media] = &huma.MediaType{Schema: binary()}
	}
	route(api, huma.Operation{
		OperationID: "report-bench", Method: http.MethodGet, Path: base + "/benches/{bench}/report", Summary: "The report of a bench",
		Responses: map[string]*huma.Response{"200": {Description: "the report", Content: contents}},
	}, attributes{access: readers}, func(ctx context.Context, in *reportInput) (*huma.StreamResponse, error) {
		svc, err := benches()
		if err != nil {
			return nil, err
		}
		data, err := svc.BenchReport(ctx, in.Bench, in.Format)
		if err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(c huma.Context) {
			w := writerOf(c)
			w.Header().Set("Content-Security-Policy", reportPolicy)
			sendWhole(w, benchTypes()[in.Format], bytes.NewBuffer(data))
		}}, nil
	})
}
