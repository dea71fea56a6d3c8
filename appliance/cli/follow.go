package cli

import (
	"context"
	"errors"
	"fmt"

	"pgapp/api"
	"pgapp/appliance"
)

// follow shows the operation until it ends, and returns the operation's error. The
// operation continues when the user interrupts.
func (a *app) follow(ctx context.Context, c *api.Client, o appliance.Operation) (appliance.Operation, error) {
	p := a.newProgress()
	p.show(o)
	if !o.State.Final() {
		last, err := c.WatchOperation(ctx, o.ID, p.show)
		p.erase()
		if err != nil {
			return o, left(ctx, o, err)
		}
		o = last
	}
	switch {
	case o.State == appliance.OpSucceeded:
		return o, nil
	case o.Error != nil:
		return o, o.Error
	}
	ended := appliance.NewProblem(appliance.ErrCancelled, "operation %s was %s", o.ID, outcome(o))
	if o.SupersededBy != "" {
		ended = ended.WithHint("pgapp ops %s --follow follows the other", o.SupersededBy)
	}
	return o, ended
}

func left(ctx context.Context, o appliance.Operation, err error) error {
	hint := fmt.Sprintf("the operation continues in the daemon: pgapp ops %s --follow", o.ID)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return appliance.NewProblem(appliance.ErrTimeout, "operation %s (%s) has not ended in time", o.ID, o.Kind).WithHint("%s", hint)
	case ctx.Err() != nil:
		return appliance.NewProblem(appliance.ErrInterrupted, "interrupted while operation %s (%s) was under way", o.ID, o.Kind).WithHint("%s", hint)
	}
	return err
}
