package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"pgapp/appliance"
)

const (
	pullTries = 4
	// idleLimit ends a fetch that gets nothing for so long.
	idleLimit = time.Minute
)

// pull fetches the image. A partial download is resumed; the digest is verified
// over the complete file.
func (s *Store) pull(ctx context.Context, i Image, progress Progress) error {
	if _, _, err := newHash(i.Digest); err != nil {
		return err
	}
	part := s.path(i.Digest) + partial
	var err error
	for range pullTries {
		err = s.fetch(ctx, i, part, progress)
		if err == nil || ctx.Err() != nil || !errors.Is(err, errCut) {
			break
		}
	}
	if err != nil {
		return pullProblem(i, err)
	}
	return s.finish(ctx, part, i.Digest)
}

// errCut says that a fetch ended too early and can be resumed.
var errCut = errors.New("the transfer was cut off")

func pullProblem(i Image, err error) error {
	var known *appliance.Problem
	if errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return appliance.NewProblem(appliance.ErrImageDownload, "fetching %s: %w", i.URL, err).
		WithHint("a repeat goes on where it stopped; or fetch it yourself and import it: pgapp image import FILE")
}

func (s *Store) fetch(ctx context.Context, i Image, part string, progress Progress) error {
	out, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("opening %q: %w", part, err)
	}
	defer func() { _ = out.Close() }()
	info, err := out.Stat()
	if err != nil {
		return fmt.Errorf("looking at %q: %w", part, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	response, err := get(ctx, i.URL, info.Size())
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	have := info.Size()
	switch response.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable:
		return nil // all of it is there
	case http.StatusOK:
		have = 0
		if err := out.Truncate(0); err != nil {
			return fmt.Errorf("emptying %q: %w", part, err)
		}
	case http.StatusPartialContent:
	default:
		return fmt.Errorf("the server says %s", response.Status)
	}
	total := have + max(0, response.ContentLength)
	idle := time.AfterFunc(idleLimit, func() { cancel(errCut) })
	defer idle.Stop()
	err = copyTo(ctx, out, response.Body, have, total, func(done, total int64) {
		idle.Reset(idleLimit)
		if progress != nil {
			progress(done, total)
		}
	})
	if err != nil {
		return errors.Join(errCut, err)
	}
	return out.Sync()
}

func get(ctx context.Context, url string, from int64) (*http.Response, error) {
	client := retryablehttp.NewClient()
	client.Logger = nil
	client.RetryMax = pullTries
	client.RetryWaitMin, client.RetryWaitMax = 200*time.Millisecond, 5*time.Second
	request, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if from > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	return client.Do(request)
}
