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

	"pgapp/appliance"
)

// SendSQL uploads SQL and returns its path at the daemon, for the spec of a later
// Up. A repeat replaces the upload. in is read to its end, and may be read for a
// moment after ctx has ended.
func (c *Client) SendSQL(ctx context.Context, cluster, name string, in io.Reader) (SQLFile, error) {
	var out SQLFile
	path := base + clusterURL(cluster) + "/sql/" + url.PathEscape(name)
	resp, err := c.send(ctx, http.MethodPut, path, in, http.Header{"Content-Type": {archiveType}})
	if err != nil {
		var own *fs.PathError
		if ctx.Err() == nil && errors.As(err, &own) { // the source's, not the connection's
			return out, appliance.NewProblem(appliance.ErrSQL, "reading the SQL: %w", own)
		}
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
