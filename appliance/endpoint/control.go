package endpoint

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"pgapp/appliance"
)

// control serves the control socket.
type control struct {
	s    *server
	home string
	// lock is the home's lock, which goes to the process that takes over.
	lock     *os.File
	listener *net.UnixListener
	// socket is the control socket's file.
	socket os.FileInfo
	// work counts the control connections.
	work sync.WaitGroup
	mu   sync.Mutex
	open map[*net.UnixConn]bool
	// closed is set once no connection goes on any more.
	closed bool
}

// errStopped ends a process that was asked to stop.
var errStopped = errors.New("stopped")

// errHomeRemoved ends a process whose home somebody has removed.
var errHomeRemoved = errors.New("the home was removed")

// errDrained ends a process that has handed over and whose connections are over.
var errDrained = errors.New("drained")

// listenControl makes the control socket. It takes the place of an earlier process's
// socket in one step, so that a client always finds one of them.
func listenControl(ctx context.Context, home string) (*control, error) {
	dir, err := os.Open(home)
	if err != nil {
		return nil, fmt.Errorf("opening the home: %w", err)
	}
	defer func() { _ = dir.Close() }()
	fresh := SocketName + ".new"
	if err := os.Remove(filepath.Join(home, fresh)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing an unused control socket: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", socketPath(dir)+".new")
	if err != nil {
		return nil, fmt.Errorf("opening the control socket: %w", err)
	}
	u := l.(*net.UnixListener)
	u.SetUnlinkOnClose(false)
	k := &control{home: home, listener: u, open: map[*net.UnixConn]bool{}}
	if err = os.Chmod(filepath.Join(home, fresh), 0o600); err == nil {
		k.socket, err = os.Lstat(filepath.Join(home, fresh))
	}
	if err == nil {
		err = os.Rename(filepath.Join(home, fresh), filepath.Join(home, SocketName))
	}
	if err != nil {
		_ = u.Close()
		return nil, fmt.Errorf("opening the control socket: %w", err)
	}
	return k, nil
}

// reachable tells whether a client finds this process.
func (k *control) reachable() bool {
	there, err := os.Lstat(filepath.Join(k.home, SocketName))
	return err == nil && os.SameFile(there, k.socket)
}

// serve answers requests until the listener is closed.
func (k *control) serve() {
	k.work.Go(func() {
		for {
			conn, err := k.listener.AcceptUnix()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				select {
				case <-k.s.done.Done():
					return
				case <-time.After(again):
				}
				continue
			}
			k.mu.Lock()
			closed := k.closed
			k.open[conn] = true
			k.mu.Unlock()
			if closed { // it was accepted just before the listener was closed
				_ = conn.Close()
				return
			}
			k.work.Go(func() { k.converse(conn) })
		}
	})
}

// close ends all control connections.
func (k *control) close() {
	_ = k.listener.Close()
	k.mu.Lock()
	k.closed = true
	for conn := range k.open {
		_ = conn.Close()
	}
	k.mu.Unlock()
	k.work.Wait()
}

// converse answers the requests of one control connection.
func (k *control) converse(conn *net.UnixConn) {
	defer func() {
		_ = conn.Close()
		k.mu.Lock()
		delete(k.open, conn)
		k.mu.Unlock()
	}()
	r := bufio.NewReader(conn)
	for {
		var req request
		if err := readMessage(r, &req); err != nil {
			return
		}
		if req.Verb == verbHandOver {
			k.handOver(conn, r)
			return
		}
		err := k.do(req)
		if writeMessage(conn, answer{Status: k.s.fullStatus(), Problem: asProblem(err)}) != nil {
			return
		}
		if req.Verb == verbStop && err == nil {
			k.s.endWork(errStopped)
			return
		}
	}
}

func asProblem(err error) *appliance.Problem {
	if err == nil {
		return nil
	}
	return appliance.AsProblem(err)
}

func (k *control) do(req request) error {
	switch req.Verb {
	case verbStatus, verbStop:
		return nil
	case verbApply:
		if req.Routes == nil {
			return appliance.NewProblem(appliance.ErrUsage, "no routes to apply")
		}
		return k.s.apply(*req.Routes)
	}
	return appliance.NewProblem(appliance.ErrUsage, "the endpoint process does not know %q", req.Verb)
}

// apply takes a state over: it is on disk first, then this process acts, and the
// earlier processes have acted when apply returns.
func (s *server) apply(routes appliance.Routes) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	switch {
	case routes.Number < s.held.Number || routes.Number == s.held.Number && !sameRoutes(routes, s.held):
		return appliance.NewProblem(appliance.ErrConflict, "the endpoints hold state %d; state %d is older", s.held.Number, routes.Number)
	case routes.Number == s.held.Number && routes.Number > 0:
		return nil
	}
	if s.file != nil {
		if err := s.file.write(routes); err != nil {
			return fmt.Errorf("state %d is refused, and the endpoints go on as before: %w", routes.Number, err)
		}
	}
	s.take(routes)
	s.log.Info("state", "number", routes.Number)
	s.tell(routes)
	return nil
}

// sameRoutes compares two states as JSON holds them.
func sameRoutes(a, b appliance.Routes) bool {
	plain := func(r appliance.Routes) (out any) {
		if data, err := json.Marshal(r); err == nil {
			_ = json.Unmarshal(data, &out)
		}
		return out
	}
	return reflect.DeepEqual(plain(a), plain(b))
}

// fullStatus is the status of this process with the connections of earlier ones.
func (s *server) fullStatus() appliance.RouteStatus {
	out := s.status()
	for _, d := range s.live() {
		earlier := d.status()
		out.Draining += 1 + earlier.Draining
		addStatus(&out, earlier)
	}
	return out
}

// addStatus adds the counts of an earlier process.
func addStatus(out *appliance.RouteStatus, earlier appliance.RouteStatus) {
	for i := range out.Clusters {
		c := &out.Clusters[i]
		if e, ok := earlier.Cluster(c.Cluster); ok {
			addCounts(&c.RW, e.RW)
			addCounts(&c.RO, e.RO)
		}
	}
}

func addCounts(out *appliance.EndpointStatus, earlier appliance.EndpointStatus) {
	out.Open += earlier.Open
	out.Waiting += earlier.Waiting
	out.Cut += earlier.Cut
	count := map[appliance.RouteMember]int{}
	for _, list := range [][]appliance.MemberConnCount{out.Members, earlier.Members} {
		for _, m := range list {
			count[m.RouteMember] += m.Open
		}
	}
	out.Members = memberCounts(count)
}
