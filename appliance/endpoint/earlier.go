package endpoint

import (
	"bufio"
	"net"
	"slices"
	"sync"
	"time"

	"pgapp/appliance"
)

const (
	// earlierTime is how long an earlier process may take to carry out a request. It is
	// killed then, since it could keep connections to a former primary. It is less than
	// what the daemon's change of primary waits for this process.
	earlierTime = 700 * time.Millisecond
	// statusPatience is how long a status waits for that of an earlier process. What the
	// earlier process said last is taken then.
	statusPatience = 200 * time.Millisecond
	// silentEarlier is how long an earlier process may leave the question for its status
	// unanswered before it is killed.
	silentEarlier = 10 * time.Second
)

// drainer is an earlier process that goes on with the connections it has. It answers
// requests in their order.
type drainer struct {
	conn *net.UnixConn
	// ended is closed when the process has ended, or is taken for ended.
	ended chan struct{}

	mu sync.Mutex
	// waiting are those who wait for an answer.
	waiting []waiter
	// asked is when the status was asked for that has not come, zero if none.
	asked time.Time
	// last is what the process said of itself last.
	last appliance.RouteStatus
}

// waiter waits for one answer. The channel is closed if the process has ended.
type waiter struct {
	answer chan answer
	status bool
}

// accepted tells the earlier process that its sockets are served here, and that it shall
// go on with its connections. One that doesn't answer is killed.
func (s *server) accepted(in *inheritance) {
	d := &drainer{conn: in.conn, ended: make(chan struct{})}
	_ = in.conn.SetDeadline(time.Time{})
	s.work.Go(d.read)
	if err := d.ask(request{Verb: verbTaken}); err != nil {
		s.log.Error("taking over from the earlier process", "err", err)
	}
	s.mu.Lock()
	s.drainers = append(s.drainers, d)
	s.mu.Unlock()
}

// read takes the answers until the connection ends.
func (d *drainer) read() {
	r := bufio.NewReader(d.conn)
	for {
		var a answer
		err := readMessage(r, &a)
		d.mu.Lock()
		if err != nil || a.Problem != nil || len(d.waiting) == 0 {
			_ = d.conn.Close()
			close(d.ended)
			for _, w := range d.waiting {
				close(w.answer)
			}
			d.waiting = nil
			d.mu.Unlock()
			return
		}
		w := d.waiting[0]
		d.waiting = d.waiting[1:]
		if d.last = a.Status; w.status {
			d.asked = time.Time{}
		}
		d.mu.Unlock()
		w.answer <- a
	}
}

// send writes a request. The caller holds mu.
func (d *drainer) send(r request) (<-chan answer, error) {
	select {
	case <-d.ended:
		return nil, ErrNotRunning
	default:
	}
	_ = d.conn.SetWriteDeadline(time.Now().Add(earlierTime))
	if err := writeMessage(d.conn, r); err != nil {
		return nil, err
	}
	w := waiter{answer: make(chan answer, 1), status: r.Verb == verbStatus}
	d.waiting = append(d.waiting, w)
	return w.answer, nil
}

// ask sends a request and waits until it is carried out. A process that does not answer
// in time is killed.
func (d *drainer) ask(r request) error {
	d.mu.Lock()
	got, err := d.send(r)
	d.mu.Unlock()
	if err != nil {
		d.kill()
		return err
	}
	late := time.NewTimer(earlierTime)
	defer late.Stop()
	select {
	case _, ok := <-got:
		if !ok {
			return ErrNotRunning
		}
		return nil
	case <-late.C:
		d.kill()
		return appliance.NewProblem(appliance.ErrTimeout, "the earlier endpoint process did not answer within %s and was killed", earlierTime)
	}
}

// status asks the process for its status, and returns what it said last.
func (d *drainer) status() appliance.RouteStatus {
	var got <-chan answer
	var err error
	d.mu.Lock()
	if d.asked.IsZero() {
		if got, err = d.send(request{Verb: verbStatus}); err == nil {
			d.asked = time.Now()
		}
	} else if time.Since(d.asked) > silentEarlier {
		err = ErrNotRunning
	}
	d.mu.Unlock()
	if err != nil {
		d.kill()
	}
	if got != nil {
		late := time.NewTimer(statusPatience)
		defer late.Stop()
		select {
		case <-got:
		case <-late.C:
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// kill ends the process with its connections.
func (d *drainer) kill() {
	if p, err := processAt(d.conn); err == nil && p != nil {
		if p.kill() == nil {
			p.endsWithin(earlierTime)
		}
		p.close()
	}
	_ = d.conn.Close()
	<-d.ended
}

// tell passes a state to the earlier processes. It returns when each holds it or has
// ended.
func (s *server) tell(routes appliance.Routes) {
	s.everyEarlier(func(d *drainer) { _ = d.ask(request{Verb: verbApply, Routes: &routes}) })
}

// stopEarlier ends the earlier processes.
func (s *server) stopEarlier() {
	s.everyEarlier(func(d *drainer) {
		if d.ask(request{Verb: verbStop}) != nil {
			return
		}
		late := time.NewTimer(earlierTime)
		defer late.Stop()
		select {
		case <-d.ended:
		case <-late.C:
			d.kill()
		}
	})
}

func (s *server) everyEarlier(do func(d *drainer)) {
	var all sync.WaitGroup
	for _, d := range s.live() {
		all.Go(func() { do(d) })
	}
	all.Wait()
}

// live lists the earlier processes that have not ended.
func (s *server) live() []*drainer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drainers = slices.DeleteFunc(s.drainers, func(d *drainer) bool {
		select {
		case <-d.ended:
			return true
		default:
			return false
		}
	})
	return slices.Clone(s.drainers)
}
