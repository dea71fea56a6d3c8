package watch

import (
	"context"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
	"pgapp/appliance/postgres"
)

// machines is a provider that tells one sign after the other, and the last one again.
type machines struct {
	appliance.Provider
	signs []appliance.Sign
	asked atomic.Int64
}

func (m *machines) Watch(ctx context.Context, _ appliance.Cluster, _ appliance.Member, _ func(string)) {
	<-ctx.Done()
}

func (m *machines) Sign(context.Context, appliance.Cluster, appliance.Member) (appliance.Sign, error) {
	n := int(m.asked.Add(1))
	return m.signs[min(n, len(m.signs))-1], nil
}

// serve has a server that gives each client the same answer, or none.
func serve(t *testing.T, answer []byte) (port int) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			_, _ = conn.Write(answer)
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	_, text, _ := net.SplitHostPort(l.Addr().String())
	port, err = strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

var (
	running = appliance.Sign{Vital: appliance.VitalRunning}
	halted  = appliance.Sign{Vital: appliance.VitalHalted}
	ended   = appliance.Sign{Vital: appliance.VitalGone, Detail: "shut off (destroyed)"}
	off     = appliance.Sign{Vital: appliance.VitalGone, Off: true, Detail: "shut off (destroyed)"}
)

// TestMachineThatIsOffEndsTheQuestions asks a machine, while a session with its server
// gets no answer for an hour.
func TestMachineThatIsOffEndsTheQuestions(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	for _, tt := range []struct {
		name  string
		signs []appliance.Sign
		// greets and answers are how long a new connection and the session take.
		greets, answers time.Duration
		last            appliance.Sign
		took            time.Duration
		cut             bool
	}{
		{"off", []appliance.Sign{off}, hour, hour, off, lastWord, true},
		{"destroyed meanwhile", []appliance.Sign{running, running, off}, hour, hour, off, 2*signAgain + lastWord, true},
		{"its process is left", []appliance.Sign{ended}, hour, hour, ended, hour, false},
		{"halted", []appliance.Sign{halted}, time.Second, time.Minute, halted, time.Minute, false},
		{"off, and the server answers", []appliance.Sign{off}, 0, lastWord / 2, off, lastWord / 2, false},
		{"the server answers", []appliance.Sign{running, off}, hour, 0, running, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, hangUp := context.WithCancel(t.Context())
				defer hangUp()
				wait := func(d time.Duration) func() {
					return sync.OnceFunc(func() {
						select {
						case <-ctx.Done():
						case <-time.After(d):
						}
					})
				}
				m := &machines{signs: tt.signs}
				q := questions{
					sign:  func() (appliance.Sign, error) { return m.Sign(ctx, appliance.Cluster{}, appliance.Member{}) },
					greet: wait(tt.greets), hangUp: hangUp, over: make(chan struct{}),
				}
				go func() {
					wait(tt.answers)()
					close(q.over)
				}()
				begun := time.Now()
				got := q.signs(ctx, appliance.Sign{})
				<-q.over
				if cut := ctx.Err() != nil; got != tt.last || cut != tt.cut || time.Since(begun) != tt.took {
					t.Errorf("after %s: %+v, cut off: %t; want %s, %+v, %t", time.Since(begun), got, cut, tt.took, tt.last, tt.cut)
				}
			})
		})
	}
}

// TestSightOfMachineThatIsOff takes no machine's word for an answer of its server.
func TestSightOfMachineThatIsOff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		due   bool
		says  []byte
		fresh ha.Answer
	}{
		{"silent server", false, nil, ha.Silent},
		{"silent server, and a new connection is due", true, nil, ha.Silent},
		{"server that answers", false, []byte("R\x00\x00\x00\x08\x00\x00\x00\x03"), ha.Answers},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := appliance.Member{Name: "node1", Placement: appliance.PlacementVM, Host: "127.0.0.1", Port: serve(t, tt.says)}
			l := looker{sessions: &postgres.Sessions{}, provider: &machines{signs: []appliance.Sign{off}}, limit: time.Hour}
			got := l.sight(t.Context(), appliance.Cluster{UUID: "1", Members: []appliance.Member{m}}, m, appliance.Secrets{}, tt.due)
			if got.Sign != off || got.Fresh != tt.fresh || got.Session != ha.Silent {
				t.Errorf("got sign %+v, new connection %s, session %s; want %+v, %s, %s", got.Sign, got.Fresh, got.Session, off, tt.fresh, ha.Silent)
			}
		})
	}
}

// TestSightOfAProcessOfThisHost asks for its sign again only where the server takes its time.
func TestSightOfAProcessOfThisHost(t *testing.T) {
	t.Parallel()
	later := appliance.Sign{Vital: appliance.VitalRunning, Detail: "later"}
	for _, tt := range []struct {
		name   string
		silent bool
		signs  []appliance.Sign
		last   appliance.Sign
	}{
		{"nothing listens", false, []appliance.Sign{running}, running},
		{"silent, and halted meanwhile", true, []appliance.Sign{running, halted}, halted},
		{"silent, and says something else", true, []appliance.Sign{running, later}, later},
		{"halted before", true, []appliance.Sign{halted}, halted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := appliance.Member{Name: "node1", Placement: appliance.PlacementLocal, Host: "127.0.0.1", Port: 1}
			if tt.silent {
				m.Port = serve(t, nil)
			}
			l := looker{sessions: &postgres.Sessions{}, provider: &placed{machines: machines{signs: tt.signs}, data: t.TempDir()}, limit: time.Second, crew: newCrew(t.Context().Done())}
			got := l.sight(t.Context(), appliance.Cluster{UUID: "1"}, m, appliance.Secrets{}, false)
			if got.Sign != tt.last || got.Session != ha.Silent {
				t.Errorf("got sign %+v, session %s; want %+v, %s", got.Sign, got.Session, tt.last, ha.Silent)
			}
		})
	}
}
