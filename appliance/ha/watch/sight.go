package watch

import (
	"context"
	"sync"
	"time"

	"pgapp/appliance"
	"pgapp/appliance/ha"
)

const (
	// signAgain is the pause between two questions to a machine whose server has not
	// answered yet.
	signAgain = 200 * time.Millisecond
	// lastWord is how long the server of a machine that is off may still answer. An
	// answer would contradict the machine.
	lastWord = 200 * time.Millisecond
)

// sight looks at one member. A new connection is made if it is due, and at any doubt.
func (l *looker) sight(ctx context.Context, c appliance.Cluster, m appliance.Member, s appliance.Secrets, due bool) ha.Sighting {
	out := ha.Sighting{Member: m.Name, Standing: ha.Standing{Member: m.Name, Return: m.Return, Line: c.Line()}}
	talk, hangUp := context.WithCancel(ctx)
	defer hangUp()
	asked, cancel := context.WithTimeout(talk, l.limit)
	defer cancel()
	q := questions{
		sign:  func() (appliance.Sign, error) { return appliance.Sign{}, nil },
		greet: sync.OnceFunc(func() { out.Fresh = fresh(asked, m) }), hangUp: hangUp, over: make(chan struct{}),
	}
	if w, ok := l.provider.(appliance.Watched); ok {
		q.sign = func() (appliance.Sign, error) { return w.Sign(asked, c, m) }
	}
	lastSign := l.askMachine(asked, m, q)
	var server sync.WaitGroup
	if due {
		l.crew.run(&server, q.greet)
	}
	err := l.ask(asked, c, m, s, &out)
	server.Wait()
	close(q.over)
	out.Sign = lastSign()
	if err != nil && out.Fresh == "" {
		again, cancel := context.WithTimeout(talk, localLook)
		defer cancel()
		out.Fresh = fresh(again, m)
	}
	if out.Sign.Vital == appliance.VitalGone {
		out.Clean = l.clean(asked, c, m)
	}
	if m.Name == c.Primary {
		out.Missing = l.missing(asked, c, m, s)
	}
	out.Full = out.Session != ha.Answers && l.full(c, m)
	return out
}

// askMachine begins to ask the member's machine, and returns what waits for its last word. A
// process of this host says at once how it is, and mostly its server has answered before it
// would be asked again.
func (l *looker) askMachine(ctx context.Context, m appliance.Member, q questions) (last func() appliance.Sign) {
	var sign appliance.Sign
	var wg sync.WaitGroup
	ask := func() { sign = q.signs(ctx, sign) }
	if m.Placement != appliance.PlacementVM {
		said, err := q.sign()
		if err == nil {
			sign = said
		}
		if err == nil && !said.Off && said.Vital != appliance.VitalHalted {
			wg.Add(1)
			again := time.AfterFunc(signAgain, func() { defer wg.Done(); ask() })
			return func() appliance.Sign {
				if again.Stop() {
					wg.Done()
				}
				wg.Wait()
				return sign
			}
		}
	}
	l.crew.run(&wg, ask)
	return func() appliance.Sign { wg.Wait(); return sign }
}

// questions are asked of a machine while its server is asked too.
type questions struct {
	sign func() (appliance.Sign, error)
	// greet makes a new connection to the server; a repeat waits for the first.
	greet func()
	// hangUp ends the questions to the server, and over is closed when they have ended.
	hangUp func()
	over   chan struct{}
}

// signs returns the machine's last word, which was out before. The machine is asked until its server has
// answered, because it may end meanwhile. One that is off ends the questions to its
// server, which would wait for an answer as long as they may.
func (q questions) signs(ctx context.Context, out appliance.Sign) appliance.Sign {
	again := time.NewTicker(signAgain)
	defer again.Stop()
	for {
		if sign, err := q.sign(); err == nil {
			out = sign
		}
		if out.Off {
			defer time.AfterFunc(lastWord, q.hangUp).Stop()
		}
		// Asked beside the session, so that a frozen member costs one limit and not two.
		if out.Off || out.Vital == appliance.VitalHalted {
			q.greet()
		}
		if out.Off {
			again.Stop()
		}
		select {
		case <-q.over:
			return out
		case <-ctx.Done():
			return out
		case <-again.C:
		}
	}
}
