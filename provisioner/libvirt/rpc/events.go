package rpc

import (
	"context"
	"errors"

	golibvirt "github.com/digitalocean/go-libvirt"
)

// Event says that something happened to a domain.
type Event struct {
	Name string
	UUID string
	// What is the event as virsh event names it, such as "Suspended".
	What string
}

// errEventsLost means that the connection that events came by has ended.
var errEventsLost = errors.New("libvirt ended the connection that its events came by")

// Follow calls heard for each event in the life of any domain, until ctx ends or the
// connection, which Follow opens for itself, is lost. Follow calls began when no
// later event can be missed. It returns after it has closed the connection.
func (c domainCalls) Follow(ctx context.Context, began func(), heard func(Event)) error {
	const doing = "following libvirt's events"
	l, err := c.open(ctx)
	if err != nil {
		return problem(doing, err)
	}
	defer func() {
		l.close()
		<-l.client.Disconnected()
	}()
	var events <-chan golibvirt.DomainEventLifecycleMsg
	err = l.do(ctx, func(v *golibvirt.Libvirt) (err error) {
		// Only the connection's end ends the subscription: a call that ends it could
		// wait for a libvirt that hangs.
		events, err = v.LifecycleEvents(context.WithoutCancel(ctx))
		return err
	})
	if err != nil {
		return problem(doing, err)
	}
	defer context.AfterFunc(ctx, l.close)()
	began()
	for e := range events {
		heard(Event{Name: e.Dom.Name, UUID: formatUUID(e.Dom.UUID), What: whatHappened(e.Event)})
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return problem(doing, dialError{errEventsLost})
}

func whatHappened(event int32) string {
	names := []string{"Defined", "Undefined", "Started", "Suspended", "Resumed", "Stopped", "Shutdown", "PMSuspended", "Crashed"}
	if event >= 0 && int(event) < len(names) {
		return names[event]
	}
	return "Changed"
}
