package plan

import (
	"context"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/postgres"
)

// promising tells whether a promotion of the member is on record that may not have
// been carried out.
func promising(c appliance.Cluster, member string) bool {
	n := len(c.Promotions)
	return n > 0 && c.Promotions[n-1].Member == member && c.Promotions[n-1].Timeline == 0
}

// promote makes the recorded primary, which runs as a standby, leave recovery. The
// promotion is on record before, so that a repeat knows it for its own.
func (s starter) promote(ctx context.Context, f facts, m appliance.Member, mc appliance.Machine, seen postgres.Observation, report appliance.Report) error {
	if seen.InRecovery {
		report(appliance.Progress{Detail: "promoting it, since it has standby.signal"})
		if err := s.lookForOther(ctx, f, m, seen.LSN); err != nil {
			return err
		}
		if err := s.work.updateCluster(ctx, func(c *appliance.Cluster) { announce(c, m.Name, time.Now().UTC()) }); err != nil {
			return err
		}
		err := s.in(ctx, f, m, func(ctx context.Context, c *postgres.Control) (err error) {
			if err := postgres.Promote(ctx, mc, c); err != nil {
				return err
			}
			seen, err = c.WaitPromoted(ctx)
			return err
		})
		if err != nil {
			return err
		}
	}
	line, err := postgres.ReadLine(ctx, mc, seen.Timeline)
	if err != nil {
		return err
	}
	f, err = s.work.facts(ctx)
	if err != nil {
		return err
	}
	done := promoted(&f.cluster, m.Name, line)
	if err := s.in(ctx, f, m, func(ctx context.Context, c *postgres.Control) error { return c.RecordPromotion(ctx, done) }); err != nil {
		return err
	}
	return s.work.updateCluster(ctx, func(c *appliance.Cluster) { promoted(c, m.Name, line) })
}

// announce records that the member is about to be promoted.
func announce(c *appliance.Cluster, member string, now time.Time) {
	if promising(*c, member) {
		return
	}
	c.Epoch++
	c.Promotions = append(c.Promotions, appliance.Promotion{Epoch: c.Epoch, Member: member, At: now, Reason: "started with standby.signal"})
}

// promoted records the timeline that the promotion began.
func promoted(c *appliance.Cluster, member string, line appliance.Line) appliance.Promotion {
	p := &c.Promotions[len(c.Promotions)-1]
	p.Timeline, c.Timeline, c.Ancestors = line.Timeline, line.Timeline, line.Ancestors
	if n := len(line.Ancestors); n > 0 {
		p.Switch = line.Ancestors[n-1].At
	}
	for i := range c.Members {
		if c.Members[i].Name == member {
			c.Members[i].Epoch = c.Epoch
		}
	}
	return *p
}
