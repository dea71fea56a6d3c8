package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"pgapp/appliance"
)

const (
	dialTimeout   = 2 * time.Second
	maxAnswerSize = 64 << 20
	maxErrorSize  = 1 << 20

	infoPath       = "/info"
	operationsPath = "/operations"
)

// Client calls a daemon's API. Its methods return *[appliance.Problem]s with
// the daemon's ids, or daemon-unreachable. It is safe for concurrent use.
type Client struct {
	base  string
	token string
	where string // for messages
	http  *http.Client
	// OnLost, if set, is called when the daemon can't be reached, before each new
	// attempt of a watch, or of a request that is safe to repeat (for a minute). It
	// may start the daemon; its error ends the attempts. Info only looks, and is not
	// repeated. Set OnLost before the first use of the client.
	OnLost func(ctx context.Context) error
}

// NewUnixClient makes a client for the daemon behind a unix socket. It does
// no I/O.
func NewUnixClient(socketPath string) *Client {
	d := &net.Dialer{Timeout: dialTimeout}
	return newClient("http://pgapp", "", socketPath, func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", socketPath)
	})
}

func newClient(base, token, where string, dial func(context.Context, string, string) (net.Conn, error)) *Client {
	t := &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 8, IdleConnTimeout: idleTimeout / 2, DisableCompression: true}
	return &Client{base: base, token: token, where: where, http: &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Do sends a request unchanged and returns the response of any status; the
// caller closes its body. path begins with a slash; body is JSON or nil.
func (c *Client) Do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	return c.send(ctx, method, path, body, nil)
}

func (c *Client) send(ctx context.Context, method, path string, body io.Reader, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, appliance.NewProblem(appliance.ErrUsage, "making the request %s %s: %w", method, visible(path), err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if body != nil && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.transportProblem(ctx, err)
	}
	return resp, nil
}

// transportProblem distinguishes a context that ended from a daemon that can't
// be reached.
func (c *Client) transportProblem(ctx context.Context, err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // without the URL
	}
	if ctx.Err() != nil {
		return appliance.AsProblem(fmt.Errorf("calling the daemon: %w", ctx.Err()))
	}
	return appliance.NewProblem(appliance.ErrDaemonUnreachable, "the daemon at %s can't be reached: %w", c.where, err).
		WithHint("start it with 'pgapp serve'")
}

// call sends in as JSON and decodes the response into out; both may be nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("writing the request %s %s: %w", method, path, err)
		}
	}
	header := http.Header{}
	if !safe(method) {
		// The key makes a retry after a lost connection safe.
		header.Set("Idempotency-Key", uuid.NewString())
	}
	once := func(ctx context.Context) error { return attempt(ctx, c, method, path, header, body, out) }
	if c.OnLost == nil || path == infoPath {
		return once(ctx)
	}
	return repeated(ctx, safe(method) || begins(path, out), c.OnLost, once)
}

// begins tells whether the request begins an operation. The daemon remembers its key with
// the operation, so a repeat gets the same one.
func begins(path string, out any) bool {
	_, is := out.(*appliance.Operation)
	return is && !strings.HasPrefix(path, operationsPath)
}

// attempt is one attempt of call.
func attempt(ctx context.Context, c *Client, method, path string, header http.Header, body []byte, out any) error {
	var in io.Reader
	if body != nil {
		in = bytes.NewReader(body)
	}
	resp, err := c.send(ctx, method, base+path, in, header)
	if err != nil {
		return err
	}
	defer closeBody(resp)
	if err := ProblemOf(resp); err != nil {
		return err
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswerSize)).Decode(out); err != nil {
		return c.transportProblem(ctx, fmt.Errorf("reading the answer to %s %s: %w", method, path, err))
	}
	return nil
}

// closeBody reads a short rest of the body, so that the connection is reused.
func closeBody(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	_ = resp.Body.Close()
}

// ProblemOf returns nil for a status below 400. Otherwise it reads the body,
// without closing it, and returns a *[appliance.Problem].
func ProblemOf(resp *http.Response) error {
	if resp.StatusCode < http.StatusBadRequest {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorSize))
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	var d ProblemDetails
	if err == nil && media == problemType && json.Unmarshal(b, &d) == nil && d.Type != "" {
		return d.problem()
	}
	p := appliance.NewProblem(idOf(resp.StatusCode), "the daemon answered %s", resp.Status)
	return p.WithDetail(strings.ToValidUTF8(string(b[:min(len(b), 1000)]), "�"))
}

// Info describes the daemon.
func (c *Client) Info(ctx context.Context) (appliance.Info, error) {
	var out appliance.Info
	err := c.call(ctx, http.MethodGet, infoPath, nil, &out)
	return out, err
}

// Shutdown stops the daemon; clusters keep running. It returns when the daemon
// has accepted the request, before the daemon ends.
func (c *Client) Shutdown(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/shutdown", nil, nil)
}

// Clusters lists all clusters.
func (c *Client) Clusters(ctx context.Context) ([]appliance.ClusterStatus, error) {
	var out []appliance.ClusterStatus
	err := c.call(ctx, http.MethodGet, "/clusters", nil, &out)
	return out, err
}

// Status returns a cluster's record and its state as observed now.
func (c *Client) Status(ctx context.Context, cluster string) (appliance.ClusterStatus, error) {
	var out appliance.ClusterStatus
	err := c.call(ctx, http.MethodGet, clusterURL(cluster), nil, &out)
	return out, err
}

// Up creates the cluster, or brings it to the spec. A repeat is safe.
func (c *Client) Up(ctx context.Context, spec appliance.Spec) (appliance.Operation, error) {
	var out appliance.Operation
	err := c.call(ctx, http.MethodPost, "/clusters", spec, &out)
	return out, err
}

// Plan returns what Up would do, as an operation in state planned.
func (c *Client) Plan(ctx context.Context, spec appliance.Spec) (appliance.Operation, error) {
	var out appliance.Operation
	err := c.call(ctx, http.MethodPost, "/clusters?dry_run=true", spec, &out)
	return out, err
}

// Scale adds standbys or removes some.
func (c *Client) Scale(ctx context.Context, cluster string, w appliance.ScaleWish) (appliance.Operation, error) {
	var out appliance.Operation
	path, query := clusterURL(cluster)+"/members", ""
	if w.Force {
		query = "?force=true"
	}
	if w.Remove != "" {
		err := c.call(ctx, http.MethodDelete, path+"/"+url.PathEscape(w.Remove)+query, nil, &out)
		return out, err
	}
	err := c.call(ctx, http.MethodPost, path+query, MembersRequest{Standbys: w.Standbys}, &out)
	return out, err
}

// Submit begins an operation of another kind than up and scale.
func (c *Client) Submit(ctx context.Context, cluster string, kind appliance.OperationKind, p appliance.OperationParams) (appliance.Operation, error) {
	var out appliance.Operation
	method, path := http.MethodPost, clusterURL(cluster)
	switch {
	case p.Member != "":
		path += "/members/" + url.PathEscape(p.Member) + "/" + url.PathEscape(string(kind))
		if p.Force {
			path += "?force=true"
		}
	case kind == appliance.OpDestroy:
		method = http.MethodDelete
	default:
		path += "/" + url.PathEscape(string(kind))
	}
	var body any
	switch {
	case kind == appliance.OpSwitchover:
		body = SwitchoverRequest{To: p.To}
	case kind == appliance.OpFailover:
		body = FailoverRequest{To: p.To, AllowDataLoss: p.AllowDataLoss}
	case p.InPlace:
		body = RestartRequest{InPlace: true}
	}
	err := c.call(ctx, method, path, body, &out)
	return out, err
}

// Pauses pauses and resumes what pgapp does by itself for the cluster.
func (c *Client) Pauses(cluster string) ClientPauses { return ClientPauses{c, cluster} }

// Verify proves that the cluster replicates. A report that is not OK is no error.
func (c *Client) Verify(ctx context.Context, cluster string) (appliance.VerifyReport, error) {
	var out appliance.VerifyReport
	err := c.call(ctx, http.MethodPost, clusterURL(cluster)+"/verify", nil, &out)
	return out, err
}

// Connection tells how to reach the database; role is rw, ro, any or admin.
func (c *Client) Connection(ctx context.Context, cluster, role string, reveal bool) (appliance.Connection, error) {
	var out appliance.Connection
	q := url.Values{"role": {role}, "show_password": {strconv.FormatBool(reveal)}}
	err := c.call(ctx, http.MethodGet, clusterURL(cluster)+"/connection?"+q.Encode(), nil, &out)
	return out, err
}

// Logs copies the log of one member to w, or of all members if member is empty.
// With follow it returns when ctx or the daemon ends.
func (c *Client) Logs(ctx context.Context, cluster, member string, follow bool, w io.Writer) error {
	q := url.Values{"follow": {strconv.FormatBool(follow)}}
	if member != "" {
		q.Set("member", member)
	}
	return c.copyTo(ctx, clusterURL(cluster)+"/logs?"+q.Encode(), w)
}

// DaemonLogs copies the daemon's own log to w.
func (c *Client) DaemonLogs(ctx context.Context, follow bool, w io.Writer) error {
	return c.copyTo(ctx, "/logs?follow="+strconv.FormatBool(follow), w)
}

func (c *Client) copyTo(ctx context.Context, path string, w io.Writer) error {
	resp, err := c.send(ctx, http.MethodGet, base+path, nil, nil)
	if err != nil {
		return err
	}
	defer closeBody(resp)
	if err := ProblemOf(resp); err != nil {
		return err
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return c.transportProblem(ctx, fmt.Errorf("reading the log: %w", err))
	}
	return nil
}

// Operation returns one operation.
func (c *Client) Operation(ctx context.Context, id string) (appliance.Operation, error) {
	var out appliance.Operation
	err := c.call(ctx, http.MethodGet, operationURL(id), nil, &out)
	return out, err
}

// Operations lists newest first; cluster may be empty for all.
func (c *Client) Operations(ctx context.Context, cluster string) ([]appliance.Operation, error) {
	var out []appliance.Operation
	path := operationsPath
	if cluster != "" {
		path += "?" + url.Values{"cluster": {cluster}}.Encode()
	}
	err := c.call(ctx, http.MethodGet, path, nil, &out)
	return out, err
}

// Cancel asks a running operation to stop.
func (c *Client) Cancel(ctx context.Context, id string) (appliance.Operation, error) {
	var out appliance.Operation
	err := c.call(ctx, http.MethodDelete, operationURL(id), nil, &out)
	return out, err
}

// CreateToken makes a token with scope read or admin. The result is the only
// place where the token itself is shown.
func (c *Client) CreateToken(ctx context.Context, name, scope string) (NewToken, error) {
	var out NewToken
	err := c.call(ctx, http.MethodPost, "/tokens", TokenRequest{Name: name, Scope: scope}, &out)
	return out, err
}

// ListTokens lists the tokens without their secrets.
func (c *Client) ListTokens(ctx context.Context) ([]Token, error) {
	var out []Token
	err := c.call(ctx, http.MethodGet, "/tokens", nil, &out)
	return out, err
}

// RevokeToken makes a token invalid.
func (c *Client) RevokeToken(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/tokens/"+url.PathEscape(name), nil, nil)
}

func clusterURL(name string) string { return "/clusters/" + url.PathEscape(name) }

func operationURL(id string) string { return operationsPath + "/" + url.PathEscape(id) }
