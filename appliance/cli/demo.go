package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"pgapp/api"
	"pgapp/appliance"
	"pgapp/appliance/program"
	"pgapp/appliance/rental"
	"pgapp/appliance/rental/web"
)

// demoCommands serve the movie-rental site.
type demoCommands struct{ *app }

// demoFlags are the flags of demo.
type demoFlags struct{ listen, consistency string }

const demoListen = "127.0.0.1:8480"

func (a demoCommands) demoCommand() *cobra.Command {
	f := &demoFlags{}
	cmd := &cobra.Command{
		Use: "demo", Short: "Serve a movie-rental site on the cluster, to see it at work",
		Long: demoLong,
		Example: `  pgapp demo
  pgapp demo --listen 127.0.0.1:0 -o json
  pgapp demo --consistency eventual`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.demo(cmd.Context(), f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", demoListen, "TCP address of the site (PGAPP_DEMO_LISTEN); port 0 picks one")
	fl.Lookup("listen").Annotations = map[string][]string{envAnnotation: {"PGAPP_DEMO_LISTEN"}}
	fl.StringVar(&f.consistency, "consistency", string(rental.Session), "session: customers see their own rentals at once; eventual: any standby answers")
	return cmd
}

const demoLong = `Serve a movie-rental site over the cluster's Pagila, until Ctrl-C. Films are searched
and read on the standbys; rented, returned and paid on the primary. Each page says
which members answered it, how far behind they were, and shows all members live.

Move or kill the primary meanwhile, by pgapp switchover or pgapp drill: pages wait
and then go on. A page waits for a minute at most; a form that was not answered may be
sent again, and is done once.

With --consistency session a customer's reads go to a standby that has the customer's
own writes, or else to the primary. With eventual every standby answers, and a
rental may not be in the list at first.

Signing in is choosing a customer, without a password, so the site listens on
loopback unless --listen names another address. Rentals and payments are real rows
of the database and stay. Besides them the site needs the schema pgapp_rental, which
it removes in the end, and a partition of payment for the month, which stays. A
database that is not Pagila is refused. Members that pgapp scale adds or removes
meanwhile are known to the site when it is started again.`

const (
	// demoPatience bounds a page with all its waits.
	demoPatience = time.Minute
	// demoGrace bounds the end of pages that are being answered.
	demoGrace = 10 * time.Second
	// headerLimit bounds the reading of a request.
	headerLimit = 10 * time.Second
)

func (a demoCommands) demo(ctx context.Context, f *demoFlags) error {
	if err := errors.Join(program.CheckListen(f.listen), oneOf("consistency", f.consistency, string(rental.Session), string(rental.Eventual))); err != nil {
		return err
	}
	c, s, err := a.startedCluster(ctx)
	if err != nil {
		return err
	}
	cfg, err := a.siteConfig(ctx, c)
	if err != nil {
		return err
	}
	cfg.Consistency = rental.Consistency(f.consistency)
	l, err := listenFor(ctx, f.listen)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }() // the server closes it first
	site, err := rental.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer site.Close()
	host, _, _ := net.SplitHostPort(f.listen) // checked above
	if strings.EqualFold(host, "localhost") || netipAddress(host) {
		host = ""
	}
	h, err := web.New(web.Config{
		Films: site, Desk: site, Members: site.Members, Pages: a.local.Pages,
		Cluster: s.Name, ID: strings.ReplaceAll(s.UUID, "-", ""), Host: host, Patience: demoPatience,
		Failed: func(err error) { a.note("%s", clean(err.Error())) },
	})
	if err != nil {
		return err
	}
	return a.serveSite(ctx, l, site, h)
}

// startedCluster returns the cluster's status, and refuses one that is stopped.
func (a *app) startedCluster(ctx context.Context) (*api.Client, appliance.ClusterStatus, error) {
	c, err := a.client(ctx)
	if err != nil {
		return nil, appliance.ClusterStatus{}, err
	}
	s, err := c.Status(ctx, a.cluster)
	if err == nil && s.Phase == appliance.PhaseStopped {
		err = appliance.NewProblem(appliance.ErrConflict, "cluster %q is stopped", a.cluster).WithHint("pgapp start starts it")
	}
	return c, s, err
}

func netipAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// siteConfig says how the site reaches the cluster.
func (a demoCommands) siteConfig(ctx context.Context, c *api.Client) (rental.Config, error) {
	cfg := rental.Config{Patience: demoPatience}
	for role, to := range map[string]*string{"rw": &cfg.Write, "ro": &cfg.Read} {
		conn, err := c.Connection(ctx, a.cluster, role, true)
		if err != nil {
			return cfg, err
		}
		*to = libpqURL(conn, false)
	}
	all, err := c.Connection(ctx, a.cluster, "any", true)
	if err != nil {
		return cfg, err
	}
	for _, h := range all.Hosts {
		if h.Endpoint {
			continue
		}
		one := all
		one.Hosts = []appliance.HostPort{h}
		cfg.Members = append(cfg.Members, rental.Member{Name: h.Member, Conn: libpqURL(one, false)})
	}
	return cfg, nil
}

// listenFor opens the site's port.
func listenFor(ctx context.Context, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, appliance.NewProblem(appliance.ErrHostPortTaken, "another program listens on %s", address).
			WithHint("--listen 127.0.0.1:0 picks a free port")
	}
	if err != nil {
		return nil, appliance.NewProblem(appliance.ErrHostUnable, "listening on %s: %w", address, err).WithHint("--listen takes an address of this machine")
	}
	return l, nil
}

// serveSite serves until ctx ends. Pages that are being answered then are finished, and
// the site's schema is removed.
func (a demoCommands) serveSite(ctx context.Context, l net.Listener, site *rental.Site, h http.Handler) error {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: headerLimit, ReadTimeout: headerLimit, WriteTimeout: demoPatience + demoGrace, IdleTimeout: time.Minute,
		MaxHeaderBytes: 32 << 10, BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	watching, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer unwatch()
	wg.Go(func() { site.Watch(watching) })
	ended := make(chan error, 1)
	wg.Go(func() { ended <- server.Serve(l) })
	if err := a.announce(l.Addr()); err != nil {
		return errors.Join(err, server.Close())
	}
	select {
	case err := <-ended:
		return fmt.Errorf("serving the site: %w", err)
	case <-ctx.Done():
	}
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), demoGrace)
	defer cancel()
	err := server.Shutdown(leave)
	if err != nil {
		_ = server.Close() // the pages that are left get no answer
		a.note("schema pgapp_rental stays, as requests were not finished; the next pgapp demo removes it")
		return nil
	}
	if err := site.Remove(leave); err != nil {
		a.note("schema pgapp_rental stays, and the next pgapp demo removes it: %s", clean(err.Error()))
	}
	return nil
}

// announce says where the site is.
func (a demoCommands) announce(addr net.Addr) error {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return fmt.Errorf("reading the site's address: %w", err)
	}
	ip, err := netip.ParseAddr(host)
	if err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	at := "http://" + net.JoinHostPort(host, port) + "/"
	if err := a.print(map[string]string{"url": at}, func() error { _, err := fmt.Fprintln(a.Out, at); return err }); err != nil {
		return err
	}
	if err != nil || !ip.IsLoopback() {
		a.note("whoever reaches this address may rent as any customer: there is no password")
	}
	a.note("the movie-rental site of cluster %q; Ctrl-C ends it", a.cluster)
	return nil
}
