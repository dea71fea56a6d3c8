package control

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"pgapp/appliance"
)

// observeOnlySetting is where the store keeps an [ObserveOnly].
const observeOnlySetting = "observe-only"

// Settings is the part of the store that holds settings.
type Settings interface {
	// Setting returns a problem not-found for an unknown name.
	Setting(ctx context.Context, name string) ([]byte, error)
	// PutSetting stores the value; nil removes the setting.
	PutSetting(ctx context.Context, name string, value []byte) error
}

// ObserveOnly says why pgapp changes nothing, and which clusters wait to be
// adopted. The store holds it, so that it comes with a restored state and outlives
// the daemon.
type ObserveOnly struct {
	Reason   string    `json:"reason"`
	Since    time.Time `json:"since"`
	Clusters []string  `json:"clusters"`
}

// SetObserveOnly stores o, and removes the setting if no cluster is left in o.
func SetObserveOnly(ctx context.Context, s Settings, o ObserveOnly) error {
	if len(o.Clusters) == 0 {
		return s.PutSetting(ctx, observeOnlySetting, nil)
	}
	b, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("storing that pgapp only observes: %w", err)
	}
	return s.PutSetting(ctx, observeOnlySetting, b)
}

// GetObserveOnly returns the stored setting, an empty one if there is none.
func GetObserveOnly(ctx context.Context, s Settings) (ObserveOnly, error) {
	var o ObserveOnly
	b, err := s.Setting(ctx, observeOnlySetting)
	if appliance.IsProblem(err, appliance.ErrNotFound) {
		return o, nil
	}
	if err != nil {
		return o, err
	}
	if err := json.Unmarshal(b, &o); err != nil {
		return o, fmt.Errorf("reading why pgapp only observes: %w", err)
	}
	return o, nil
}

func (c *Controller) observeOnly(ctx context.Context) (ObserveOnly, error) {
	if c.cfg.Settings == nil {
		return ObserveOnly{}, nil
	}
	return GetObserveOnly(ctx, c.cfg.Settings)
}

// mayChange refuses all acts but an adoption while a cluster waits to be adopted: a
// cluster that the restored state doesn't know may have the same names and addresses.
func (c *Controller) mayChange(ctx context.Context, a Act) error {
	o, err := c.observeOnly(ctx)
	if err != nil || len(o.Clusters) == 0 || a.admittedObserving() {
		return err
	}
	return observingProblem(o)
}

func observingProblem(o ObserveOnly) error {
	return appliance.NewProblem(appliance.ErrConflict, "pgapp only observes: %s", o.Reason).
		WithHint("pgapp adopt --cluster %s takes over what really runs; pgapp ps and pgapp verify show it", o.Clusters[0])
}

// Adopted removes the cluster from those that wait to be adopted. A repeat is safe.
func Adopted(ctx context.Context, s Settings, cluster string) error {
	o, err := GetObserveOnly(ctx, s)
	if err != nil || !slices.Contains(o.Clusters, cluster) {
		return err
	}
	o.Clusters = slices.DeleteFunc(o.Clusters, func(name string) bool { return name == cluster })
	return SetObserveOnly(ctx, s, o)
}
