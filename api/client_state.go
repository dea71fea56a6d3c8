package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"

	"pgapp/appliance"
)

// Backup copies an archive of the daemon's state to w, sealed as req says.
// After an error, the bytes written to w are useless.
func (c *Client) Backup(ctx context.Context, req BackupRequest, w io.Writer) error {
	if err := req.Check(); err != nil {
		return err
	}
	header := http.Header{}
	if !req.Passphrase.Empty() {
		header.Set(headerPassphrase, req.Passphrase.Reveal())
	}
	q := url.Values{"recipient": req.Recipients}
	if req.Plaintext {
		q.Set("plaintext", "true")
	}
	resp, err := c.send(ctx, http.MethodGet, statePath+"/backup?"+q.Encode(), nil, header)
	if err != nil {
		return err
	}
	defer closeBody(resp)
	if err := ProblemOf(resp); err != nil {
		return err
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		var own *fs.PathError
		if errors.As(err, &own) { // the file's, not the connection's
			return fmt.Errorf("writing the backup: %w", err)
		}
		return c.transportProblem(ctx, fmt.Errorf("receiving the backup: %w", err))
	}
	return nil
}

// Restore replaces the daemon's state by an archive. When it returns nil, the
// daemon restarts itself and may not answer for a moment.
func (c *Client) Restore(ctx context.Context, archive io.Reader, req RestoreRequest) (RestoreResult, error) {
	var out RestoreResult
	header := http.Header{"Content-Type": {archiveType}}
	if !req.Passphrase.Empty() {
		header.Set(headerPassphrase, req.Passphrase.Reveal())
	}
	if !req.Identities.Empty() {
		header.Set(headerIdentity, req.Identities.Reveal())
	}
	resp, err := c.send(ctx, http.MethodPost, restorePath+"?adopt="+strconv.FormatBool(req.Adopt), archive, header)
	if err != nil {
		return out, err
	}
	defer closeBody(resp)
	if err := ProblemOf(resp); err != nil {
		return out, err
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswerSize)).Decode(&out); err != nil {
		return out, c.transportProblem(ctx, fmt.Errorf("reading the answer: %w", err))
	}
	return out, nil
}

// CheckState examines the daemon's state. A report that is not OK is no error.
func (c *Client) CheckState(ctx context.Context) (StateReport, error) {
	var out StateReport
	err := c.call(ctx, http.MethodPost, "/state/check", nil, &out)
	return out, err
}

// CompactState frees unused space of the state; the daemon restarts itself.
func (c *Client) CompactState(ctx context.Context) (CompactResult, error) {
	var out CompactResult
	err := c.call(ctx, http.MethodPost, "/state/compact", nil, &out)
	return out, err
}

// Adopt updates the cluster's record to what unambiguously runs.
func (c *Client) Adopt(ctx context.Context, cluster string) (appliance.Adoption, error) {
	var out appliance.Adoption
	err := c.call(ctx, http.MethodPost, clusterURL(cluster)+"/adopt", nil, &out)
	return out, err
}
