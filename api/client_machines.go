package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"pgapp/appliance"
)

// Images lists the catalogue's images and those that are kept.
func (c *Client) Images(ctx context.Context) ([]ImageEntry, error) {
	var out []ImageEntry
	err := c.call(ctx, http.MethodGet, "/images", nil, &out)
	return out, err
}

// KeepImage makes the daemon fetch or copy an image, and calls seen with the
// progress. The work ends with ctx; a repeat resumes it.
func (c *Client) KeepImage(ctx context.Context, req ImageRequest, seen appliance.Report) (ImageEntry, error) {
	b, err := json.Marshal(req)
	if err != nil {
		return ImageEntry{}, fmt.Errorf("writing the request for an image: %w", err)
	}
	last, err := c.task(ctx, http.MethodPost, imagesPath, bytes.NewReader(b), seen)
	if err != nil || last.Image == nil {
		return ImageEntry{}, err
	}
	return *last.Image, nil
}

// RemoveImage removes an image that is kept, by its name or digest.
func (c *Client) RemoveImage(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/images/"+url.PathEscape(name), nil, nil)
}

// PruneImages removes the volumes that were made from images and that no machine
// uses, and returns them. A repeat does nothing.
func (c *Client) PruneImages(ctx context.Context) (PrunedImages, error) {
	var out PrunedImages
	err := c.call(ctx, http.MethodPost, "/images/prune", nil, &out)
	return out, err
}

// Login returns how to log in to a member's machine, including its private key.
func (c *Client) Login(ctx context.Context, cluster, member string) (GuestLogin, error) {
	var out GuestLogin
	err := c.call(ctx, http.MethodGet, clusterURL(cluster)+"/members/"+url.PathEscape(member)+"/login", nil, &out)
	return out, err
}

// Use returns what a member's machine has used of its host.
func (c *Client) Use(ctx context.Context, cluster, member string) (MachineUse, error) {
	var out MachineUse
	err := c.call(ctx, http.MethodGet, clusterURL(cluster)+"/members/"+url.PathEscape(member)+"/use", nil, &out)
	return out, err
}

// DestroyByTag removes the remains of a cluster that has no record at this
// daemon. The work ends with ctx; a repeat resumes it.
func (c *Client) DestroyByTag(ctx context.Context, uuid string, seen appliance.Report) error {
	_, err := c.task(ctx, http.MethodDelete, tagsPath+url.PathEscape(uuid), nil, seen)
	return err
}

// task follows a request whose work goes on while the request is open, and
// returns its last event.
func (c *Client) task(ctx context.Context, method, path string, body io.Reader, seen appliance.Report) (taskEvent, error) {
	live, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := c.send(live, method, path, body, nil)
	if err != nil {
		return taskEvent{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := ProblemOf(resp); err != nil {
		return taskEvent{}, err
	}
	quiet := time.AfterFunc(silence, cancel)
	defer quiet.Stop()
	var last taskEvent
	err = readEvents(&pulse{r: resp.Body, t: quiet}, func(data []byte) error {
		last = taskEvent{}
		if err := json.Unmarshal(data, &last); err != nil {
			return fmt.Errorf("reading an event: %w", err)
		}
		if last.Progress != nil && seen != nil {
			seen(*last.Progress)
		}
		return nil
	})
	switch {
	case err == nil && last.Error != nil:
		return last, last.Error.problem()
	case err == nil && last.Done:
		return last, nil
	case err == nil:
		err = errors.New("the daemon closed the connection before the work was done") // the daemon stops
	}
	return last, c.transportProblem(ctx, err)
}
