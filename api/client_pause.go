package api

import (
	"context"
	"net/http"
	"time"

	"pgapp/appliance"
)

// ClientPauses is made by [Client.Pauses].
type ClientPauses struct {
	client  *Client
	cluster string
}

// Pause keeps pgapp from acting by itself for that time, or until Resume if it is 0. A
// repeat sets the end anew.
func (p ClientPauses) Pause(ctx context.Context, lasts time.Duration) (appliance.Automation, error) {
	var out appliance.Automation
	var in PauseRequest
	if lasts > 0 {
		in.For = lasts.String()
	}
	err := p.client.call(ctx, http.MethodPost, clusterURL(p.cluster)+"/pause", in, &out)
	return out, err
}

// Resume ends the pause. A repeat is safe.
func (p ClientPauses) Resume(ctx context.Context) (appliance.Automation, error) {
	var out appliance.Automation
	err := p.client.call(ctx, http.MethodPost, clusterURL(p.cluster)+"/resume", nil, &out)
	return out, err
}
