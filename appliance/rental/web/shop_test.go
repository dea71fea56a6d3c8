package web_test

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"pgapp/appliance"
	"pgapp/appliance/rental"
)

// shop is a site in memory, with one film of one copy, or with an error for everything.
type shop struct {
	mu      sync.Mutex
	err     error
	title   string
	lsn     uint64
	rentals []rental.Rental
	done    map[uuid.UUID]rental.Receipt
	// asked is the token of the last read.
	asked rental.Token
}

func newShop() *shop {
	return &shop{title: "AMBER ACCORDION", lsn: 100, done: map[uuid.UUID]rental.Receipt{}}
}

// reads answers as a standby.
func (s *shop) reads(client rental.Token) (rental.Answer, error) {
	s.asked = client
	return rental.Answer{Member: "node1", Standby: true, Behind: 2048, Attempts: 1, Position: rental.Token{Timeline: 1, LSN: s.lsn}}, s.err
}

func (s *shop) film() rental.Film {
	return rental.Film{ID: 1, Title: s.title, Description: "A <b>tale</b>.", Year: 1992, Rating: "G", Minutes: 90, Rate: 299, Days: 3}
}

func (s *shop) Categories(_ context.Context, client rental.Token) ([]rental.Category, rental.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.reads(client)
	return []rental.Category{{ID: 3, Name: "Games & <Play>", Films: 30}}, a, err
}

func (s *shop) Browse(_ context.Context, client rental.Token, _ int32, page int) (rental.List, rental.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.reads(client)
	return rental.List{Films: []rental.Film{s.film()}, More: page == 0}, a, err
}

func (s *shop) Search(_ context.Context, client rental.Token, words string, _ int) (rental.List, rental.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.reads(client)
	if !strings.Contains(strings.ToLower(s.title), words) {
		return rental.List{}, a, err
	}
	return rental.List{Films: []rental.Film{s.film()}}, a, err
}

func (s *shop) out() int {
	n := 0
	for _, r := range s.rentals {
		if r.Returned == nil {
			n++
		}
	}
	return n
}

func (s *shop) Film(_ context.Context, client rental.Token, id int32) (rental.FilmPage, rental.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.reads(client)
	if err == nil && id != 1 {
		err = appliance.NewProblem(appliance.ErrNotFound, "there is no film %d", id)
	}
	return rental.FilmPage{
		Film: s.film(), Replacement: 999, Categories: []string{"Games"}, Actors: []string{"ANN <I>"},
		Stock: []rental.Stock{{Store: 1, Place: "Hue", Copies: 1, In: 1 - s.out()}, {Store: 2, Place: "Rijeka"}},
	}, a, err
}

func (s *shop) Customers(_ context.Context, client rental.Token, text string) ([]rental.Customer, rental.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.reads(client)
	if !strings.Contains("mary <smith>", text) {
		return nil, a, err
	}
	return []rental.Customer{{ID: 7, Name: "MARY <SMITH>", Store: 1}}, a, err
}

func (s *shop) Customer(_ context.Context, client rental.Token, id int32) (rental.Customer, rental.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.reads(client)
	if err == nil && id != 7 && id != 8 {
		err = appliance.NewProblem(appliance.ErrNotFound, "there is no customer %d", id)
	}
	return rental.Customer{ID: id, Name: "MARY <SMITH>", Store: 1}, a, err
}

func (s *shop) Rentals(_ context.Context, client rental.Token, _ int32) ([]rental.Rental, rental.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.reads(client)
	return append([]rental.Rental(nil), s.rentals...), a, err
}

// once does the work of a request, as often as it comes, once.
func (s *shop) once(id uuid.UUID, work func() (rental.Receipt, error)) (rental.Receipt, rental.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return rental.Receipt{}, rental.Answer{}, s.err
	}
	got, done := s.done[id]
	if got.Replayed = done; !done {
		var err error
		if got, err = work(); err != nil {
			return got, rental.Answer{}, err
		}
		s.done[id] = got
	}
	s.lsn++
	return got, rental.Answer{Member: "node0", Wrote: true, Attempts: 2, Position: rental.Token{Timeline: 1, LSN: s.lsn}}, nil
}

func (s *shop) Rent(_ context.Context, r rental.Rent) (rental.Receipt, rental.Answer, error) {
	return s.once(r.Request, func() (rental.Receipt, error) {
		if r.Film != 1 || r.Store != 1 || s.out() > 0 {
			return rental.Receipt{}, appliance.NewProblem(appliance.ErrConflict, "store %d has no copy of film %d left", r.Store, r.Film)
		}
		got := rental.Rental{ID: int32(len(s.rentals) + 1), Film: 1, Title: s.title, Store: 1, Rented: time.Now(), Due: time.Now(), Owed: 299}
		if r.Pay {
			got.Paid, got.Owed = 299, 0
		}
		s.rentals = append(s.rentals, got)
		return rental.Receipt{Rental: got.ID, Paid: got.Paid, Payment: int32(got.Paid)}, nil
	})
}

// rental is the customer's rental with the number.
func (s *shop) rental(id int32) (*rental.Rental, error) {
	if id < 1 || int(id) > len(s.rentals) {
		return nil, appliance.NewProblem(appliance.ErrNotFound, "there is no rental of this customer with number %d", id)
	}
	return &s.rentals[id-1], nil
}

func (s *shop) Return(_ context.Context, id uuid.UUID, _, number int32) (rental.Receipt, rental.Answer, error) {
	return s.once(id, func() (rental.Receipt, error) {
		r, err := s.rental(number)
		if err != nil {
			return rental.Receipt{}, err
		}
		if r.Returned != nil {
			return rental.Receipt{}, appliance.NewProblem(appliance.ErrConflict, "rental %d is already returned", number)
		}
		now := time.Now()
		r.Returned = &now
		return rental.Receipt{Rental: number}, nil
	})
}

func (s *shop) Pay(_ context.Context, id uuid.UUID, _, number int32) (rental.Receipt, rental.Answer, error) {
	return s.once(id, func() (rental.Receipt, error) {
		r, err := s.rental(number)
		if err != nil {
			return rental.Receipt{}, err
		}
		if r.Owed == 0 {
			return rental.Receipt{}, appliance.NewProblem(appliance.ErrConflict, "nothing is owed for rental %d", number)
		}
		r.Paid, r.Owed = r.Paid+r.Owed, 0
		return rental.Receipt{Rental: number, Payment: 1, Paid: r.Paid}, nil
	})
}

// members are a cluster's in every state.
func members() []rental.MemberState {
	return []rental.MemberState{
		{Name: "node0", Up: true},
		{Name: "node1", Up: true, Standby: true, Behind: 2048},
		{Name: "node2", Up: true, Standby: true, Paused: true},
		{Name: "node3<"},
	}
}

// fail makes everything fail.
func (s *shop) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// count is how many rentals there are.
func (s *shop) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rentals)
}
