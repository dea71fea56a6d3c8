package rental

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgapp/appliance"
)

// TestSilentMemberMakesNoLag has a member give no answer, for which others are waited for.
func TestSilentMemberMakesNoLag(t *testing.T) {
	t.Parallel()
	states := []MemberState{{Name: "primary", Up: true}, {Name: "near", Up: true, Standby: true}, {Name: "far", Up: true, Standby: true}, {Name: "silent"}}
	compare(states, []sighting{{at: 1000, newest: 1000}, {at: 990, newest: 995}, {at: 400, newest: 1005}, {newest: 90_000}})
	if states[1].Behind != 15 || states[2].Behind != 605 || states[0].Behind != 0 || states[3].Behind != 0 {
		t.Errorf("%+v", states)
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	for _, want := range []Token{{}, {1, 0}, {3, 0x3000148}, {1<<32 - 1, 1<<64 - 1}} {
		if got := ParseToken(want.String()); got != want {
			t.Errorf("%s is read as %+v", want, got)
		}
	}
	// A cookie is a stranger's: what can't be read asks for nothing.
	for _, text := range []string{"", "-", "1", "1-", "-1", "g-1", "1-g", "1 -2", "-1-2", "1--2", "100000000-1", "1-10000000000000000", "1-2-3", "0x1-2"} {
		if got := ParseToken(text); got != (Token{}) {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}

func TestFresh(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		standby bool
		at      Token
		client  Token
		want    bool
	}{
		{"a client that wrote nothing", true, Token{1, 0}, Token{}, true},
		{"a standby that has replayed just that", true, Token{1, 100}, Token{1, 100}, true},
		{"a standby that lacks a byte", true, Token{1, 99}, Token{1, 100}, false},
		{"a standby of a newer timeline that is behind", true, Token{2, 99}, Token{1, 100}, false},
		{"a standby of a newer timeline that has it", true, Token{2, 100}, Token{1, 100}, true},
		{"a standby of an older timeline, however far", true, Token{1, 900}, Token{2, 100}, false},
		{"the primary", false, Token{1, 100}, Token{1, 100}, true},
		{"a primary that crashed and lost what was not flushed", false, Token{1, 99}, Token{1, 100}, false},
		{"a primary of a newer timeline has all that was kept", false, Token{2, 1}, Token{1, 100}, true},
		{"a primary that was replaced, however far", false, Token{1, 900}, Token{2, 100}, false},
	} {
		if got := (Answer{Standby: tt.standby, Position: tt.at}).fresh(tt.client); got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
	}
}

func TestCents(t *testing.T) {
	t.Parallel()
	for in, want := range map[Cents]string{0: "$0.00", 5: "$0.05", 99: "$0.99", 100: "$1.00", 499: "$4.99", 123456: "$1234.56"} {
		if got := in.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestRepeatable(t *testing.T) {
	t.Parallel()
	state := func(code string) error { return fmt.Errorf("doing: %w", &pgconn.PgError{Code: code}) }
	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{"two transactions in each other's way", state("40001"), true},
		{"a deadlock", state("40P01"), true},
		{"the member became a standby", state("25006"), true},
		{"the server ends", state("57P01"), true},
		{"the server starts", state("57P03"), true},
		{"the wait for a lock is over", state("55P03"), true},
		{"too many clients", state("53300"), true},
		{"the connection broke, by the server's word", state("08006"), true},
		{"the connection broke", fmt.Errorf("reading: %w", io.ErrUnexpectedEOF), true},
		{"the attempt took too long", context.DeadlineExceeded, true},
		{"a commit that no standby confirmed", errUnconfirmed, true},
		{"a primary that was replaced", errOldPrimary, true},
		{"a partition that had to be made", errNoPartition, true},
		{"a wrong password", state("28P01"), false},
		{"a table that is not there", state("42P01"), false},
		{"a foreign key", state("23503"), false},
		{"a payment that still has no partition", state("23514"), false},
		{"nothing found", pgx.ErrNoRows, false},
		{"a value that can't be read", pgx.ScanArgError{Err: io.EOF}, false},
		{"a problem", fmt.Errorf("renting: %w", appliance.NewProblem(appliance.ErrConflict, "no copy left")), false},
		{"a problem with a cause that could be repeated", appliance.NewProblem(appliance.ErrConflict, "no: %w", state("40001")), false},
	} {
		if got := repeatable(tt.err); got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
	}
}

// TestAgain has a request be repeated: how often, for how long, and what it says then.
func TestAgain(t *testing.T) {
	t.Parallel()
	fails := func(n int, err error) func(int) error {
		return func(attempt int) error {
			if attempt > n {
				return nil
			}
			return err
		}
	}
	broken, taken := io.ErrUnexpectedEOF, appliance.NewProblem(appliance.ErrConflict, "no copy left")
	for _, tt := range []struct {
		name     string
		do       func(attempt int) error
		attempts int
		lasts    time.Duration
		problem  appliance.ErrorID
	}{
		{"at once", fails(0, nil), 1, 0, ""},
		{"the third attempt", fails(2, broken), 3, 15 * time.Millisecond, ""},
		{"the pauses grow up to a fifth of a second", fails(8, broken), 9, 715 * time.Millisecond, ""},
		{"a refusal is final", fails(100, taken), 1, 0, appliance.ErrConflict},
		{"a refusal after a failure is final", func(n int) error {
			if n == 1 {
				return broken
			}
			return taken
		}, 2, 5 * time.Millisecond, appliance.ErrConflict},
		{"never", fails(1000, broken), 10, time.Second, appliance.ErrTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &Site{cfg: Config{Patience: time.Second}}
				n, begun := 0, time.Now()
				err := s.again(t.Context(), "renting a film", func(context.Context) error {
					n++
					return tt.do(n)
				})
				if tt.problem == "" && err != nil || tt.problem != "" && !appliance.IsProblem(err, tt.problem) {
					t.Errorf("got %v, want %q", err, tt.problem)
				}
				if err != nil && !strings.HasPrefix(err.Error(), "renting a film: ") {
					t.Errorf("got %v", err)
				}
				if lasted := time.Since(begun); n != tt.attempts || lasted != tt.lasts {
					t.Errorf("%d attempts in %s, want %d in %s", n, lasted, tt.attempts, tt.lasts)
				}
				want := tt.attempts - 1
				if tt.problem == appliance.ErrTimeout {
					want++
					if hint := appliance.AsProblem(err).Hint; !strings.Contains(hint, "the same request id") {
						t.Errorf("got the hint %q", hint)
					}
				}
				if got := s.Counts().Retries; got != int64(want) {
					t.Errorf("%d repeats are counted, want %d", got, want)
				}
			})
		})
	}
}

// TestAgainEndsAnAttempt has an attempt hang: it is ended, and another one follows.
func TestAgainEndsAnAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &Site{cfg: Config{Patience: time.Minute}}
		n, begun := 0, time.Now()
		err := s.again(t.Context(), "paying", func(ctx context.Context) error {
			if n++; n > 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		if lasted := time.Since(begun); err != nil || n != 2 || lasted != attemptLimit+firstPause {
			t.Errorf("got %v after %d attempts in %s", err, n, lasted)
		}
	})
}

// TestARequestNeedsAnID: without one, a repeat could rent twice.
func TestARequestNeedsAnID(t *testing.T) {
	t.Parallel()
	s := &Site{}
	for name, ask := range map[string]func() error{
		"renting": func() error {
			_, _, err := s.Rent(t.Context(), Rent{Customer: 1, Film: 1, Store: 1})
			return err
		},
		"returning": func() error {
			_, _, err := s.Return(t.Context(), uuid.Nil, 1, 1)
			return err
		},
		"paying": func() error {
			_, _, err := s.Pay(t.Context(), uuid.Nil, 1, 1)
			return err
		},
	} {
		if err := ask(); !appliance.IsProblem(err, appliance.ErrUsage) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestShuffleHosts keeps every host with its entries together and in order, and lets each
// be the first.
func TestShuffleHosts(t *testing.T) {
	t.Parallel()
	first := map[string]int{}
	for range 200 {
		cfg, err := pgx.ParseConfig("postgres://app@a:1,b:2,c:3,a:4/pagila?sslmode=prefer")
		if err != nil {
			t.Fatal(err)
		}
		if err := shuffleHosts(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		all := append([]*pgconn.FallbackConfig{{Host: cfg.Host, Port: cfg.Port, TLSConfig: cfg.TLSConfig}}, cfg.Fallbacks...)
		there := map[string]bool{}
		for i := 0; i < len(all); i += 2 { // sslmode=prefer: each host with TLS and then without
			x, y := all[i], all[i+1]
			if x.Host != y.Host || x.Port != y.Port || x.TLSConfig == nil || y.TLSConfig != nil {
				t.Fatalf("%s:%d is followed by %s:%d", x.Host, x.Port, y.Host, y.Port)
			}
			there[fmt.Sprintf("%s:%d", x.Host, x.Port)] = true
		}
		if len(all) != 8 || len(there) != 4 {
			t.Fatalf("got %v of %d entries", there, len(all))
		}
		first[fmt.Sprintf("%s:%d", all[0].Host, all[0].Port)]++
	}
	if len(first) != 4 {
		t.Errorf("first were %v", first)
	}
}

// TestOpenHidesItsConnectionStrings has one that can't be read not be shown.
func TestOpenHidesItsConnectionStrings(t *testing.T) {
	t.Parallel()
	const good, bad = "postgres://app@127.0.0.1:1/pagila", "postgres://app:canary@127.0.0.1:port/pagila"
	for name, cfg := range map[string]Config{
		"writes":            {Write: bad, Read: good, Consistency: Session},
		"reads":             {Write: good, Read: bad, Consistency: Session},
		"a canary in a key": {Write: "host=a canary", Read: good, Consistency: Eventual},
	} {
		_, err := Open(t.Context(), cfg)
		if !appliance.IsProblem(err, appliance.ErrUsage) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := Open(t.Context(), Config{Write: good, Read: good, Consistency: "strong"}); !appliance.IsProblem(err, appliance.ErrUsage) || !strings.Contains(err.Error(), "eventual or session") {
		t.Errorf("got %v", err)
	}
}

// TestOpenTellsWhyNobodyAnswers has no server at the address, until the patience ends.
func TestOpenTellsWhyNobodyAnswers(t *testing.T) {
	t.Parallel()
	const nobody = "postgres://app@127.0.0.1:1/pagila"
	_, err := Open(t.Context(), Config{Write: nobody, Read: nobody, Consistency: Session, Patience: 20 * time.Millisecond})
	if !appliance.IsProblem(err, appliance.ErrTimeout) || errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
