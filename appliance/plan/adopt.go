package plan

import (
	"context"
	"errors"
	"slices"
	"time"

	"pgapp/appliance"
)

// adopt draws the step that records the decision made before the operation began.
// No server is started, stopped or configured.
func (r *recipe) adopt() error {
	d := r.op.Params.Adopt
	if d == nil {
		return appliance.NewProblem(appliance.ErrInternal, "operation %s does not say what to adopt", r.op.ID)
	}
	record := whole(kindRecord, "record the primary")
	record.Done = func(ctx context.Context) (bool, error) {
		c, err := r.cfg.Store.Cluster(ctx, r.op.Cluster)
		return err == nil && adopted(c, *d), err
	}
	record.Do = func(ctx context.Context, _ appliance.Report) error {
		_, err := r.cfg.Store.UpdateCluster(ctx, r.op.Cluster, func(c *appliance.Cluster) error { return adoptInto(c, *d, time.Now().UTC()) })
		return err
	}
	note := whole(kindEpoch, "note the epoch in the data")
	note.Do = func(ctx context.Context, report appliance.Report) error {
		// The record alone is enough for this home.
		f, err := r.facts(ctx)
		if err == nil {
			err = noteEpoch(ctx, f, *d)
		}
		if err != nil && ctx.Err() == nil {
			report(appliance.Progress{Detail: "not noted: " + err.Error()})
		}
		return ctx.Err()
	}
	known := whole(kindKnown, "end observing only")
	known.Do = func(ctx context.Context, _ appliance.Report) error { return r.cfg.Adopted(ctx, r.op.Cluster) }
	r.add(known, r.add(note, r.add(record)))
	return nil
}

// noteEpoch stores the adoption in the primary's data, if the primary runs. Whoever
// looks at the members with an older record then sees that it is older.
func noteEpoch(ctx context.Context, f facts, d appliance.AdoptDecision) error {
	if !slices.Contains(d.Running, d.Found.Primary) {
		return nil
	}
	i := slices.IndexFunc(f.cluster.Promotions, func(p appliance.Promotion) bool { return p.Epoch == d.Found.Epoch })
	if i < 0 {
		return nil
	}
	c, err := f.control(ctx, f.cluster.PrimaryMember())
	if err != nil {
		return err
	}
	return errors.Join(c.RecordPromotion(ctx, f.cluster.Promotions[i]), c.Close(ctx))
}

// adopted tells whether the record has the decision.
func adopted(c appliance.Cluster, d appliance.AdoptDecision) bool {
	return c.Epoch == d.Found.Epoch && c.Primary == d.Found.Primary
}

// adoptInto applies the decision to the record. A repeat changes nothing. adoptInto
// returns ErrConflict if the record has changed since the decision.
func adoptInto(c *appliance.Cluster, d appliance.AdoptDecision, now time.Time) error {
	if adopted(*c, d) {
		return nil
	}
	if c.Revision != d.Revision || d.FromEpoch != 0 && (c.Epoch != d.FromEpoch || c.Timeline != d.FromTimeline) {
		return appliance.NewProblem(appliance.ErrConflict, "cluster %q was changed while its members were looked at", c.Name).
			WithHint("run pgapp adopt --cluster %s again; nothing was changed", c.Name)
	}
	c.Primary, c.Epoch, c.Timeline, c.Ancestors = d.Found.Primary, d.Found.Epoch, d.Found.Timeline, d.Ancestors
	p := appliance.Promotion{Epoch: c.Epoch, Member: c.Primary, Timeline: c.Timeline, At: now, Reason: appliance.ReasonAdopted}
	if n := len(c.Ancestors); n > 0 {
		p.Switch = c.Ancestors[n-1].At
	}
	c.Promotions = append(c.Promotions, p)
	// What an older record promised may not have held since.
	c.Promise, c.Sync = appliance.Promise{}, appliance.Promise{}
	if c.Change != nil && !c.Change.Phase.Final() {
		c.Change.Phase = appliance.ChangeCancelled
	}
	for i := range c.Members {
		adoptMember(c, &c.Members[i], d)
	}
	if slices.Contains(d.Running, c.Primary) && c.Initialised && c.Phase != appliance.PhaseRemoving {
		c.Phase = appliance.PhaseReady
	}
	return nil
}

func adoptMember(c *appliance.Cluster, m *appliance.Member, d appliance.AdoptDecision) {
	running, stray := slices.Contains(d.Running, m.Name), slices.Contains(d.Stray, m.Name)
	switch {
	case stray:
		m.Return = appliance.WayLook
	case running || m.Name == c.Primary:
		m.Return, m.Epoch = "", c.Epoch
	}
	if running {
		m.WantStopped, c.WantStopped = false, false
	}
}
