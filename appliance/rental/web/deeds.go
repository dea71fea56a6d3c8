package web

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"pgapp/appliance"
	"pgapp/appliance/rental"
)

// The kinds of requests, as pages name them.
const (
	kindRent   = "rent"
	kindReturn = "return"
	kindPay    = "pay"
)

// form reads the form.
func (v *visit) form() error {
	err := v.r.ParseForm()
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return appliance.NewProblem(appliance.ErrTooLarge, "the form is too large")
	case err != nil:
		return appliance.NewProblem(appliance.ErrUsage, "the form can't be read")
	}
	return nil
}

// request reads what each form of a signed-in customer has: the request's id. A form of
// an earlier run of the site is refused, since its request may have been done and
// forgotten.
func (v *visit) request() (uuid.UUID, error) {
	if err := v.form(); err != nil {
		return uuid.Nil, err
	}
	id, err := uuid.Parse(v.r.PostForm.Get("request"))
	if err != nil || id == uuid.Nil {
		return uuid.Nil, appliance.NewProblem(appliance.ErrUsage, "the form has no request id").WithHint("Load the page again, and send its form.")
	}
	if v.r.PostForm.Get("run") != v.run {
		return uuid.Nil, appliance.NewProblem(appliance.ErrConflict, "the form is older than this run of the site").
			WithHint("Your rentals show whether it was done. Load the page again before you send its form.")
	}
	return id, nil
}

// deed is a request's work.
type deed func(ctx context.Context, request uuid.UUID, id int32) (rental.Receipt, rental.Answer, error)

// do does the request once, and leads to the customer's rentals, which show its receipt.
func (v *visit) do(kind string, work deed) error {
	id, err := v.id()
	if err != nil {
		return err
	}
	request, err := v.request()
	if err != nil {
		return err
	}
	if v.customer == 0 {
		return v.redirect("/signin")
	}
	begun := time.Now()
	got, a, err := work(v.r.Context(), request, id)
	if err != nil {
		return err
	}
	v.receipts.put(request, receipt{Kind: kind, Receipt: got, customer: v.customer, answered: answered{kind, a, time.Since(begun)}})
	v.setCookie("seen", a.Position.String())
	return v.redirect("/rentals?done=" + request.String())
}

func rent(v *visit) error {
	return v.do(kindRent, func(ctx context.Context, request uuid.UUID, id int32) (rental.Receipt, rental.Answer, error) {
		return v.Desk.Rent(ctx, rental.Rent{
			Request: request, Customer: v.customer, Film: id,
			Store: number(v.r.PostForm.Get("store")), Pay: v.r.PostForm.Get("pay") == "yes",
		})
	})
}

func giveBack(v *visit) error {
	return v.do(kindReturn, func(ctx context.Context, request uuid.UUID, id int32) (rental.Receipt, rental.Answer, error) {
		return v.Desk.Return(ctx, request, v.customer, id)
	})
}

func pay(v *visit) error {
	return v.do(kindPay, func(ctx context.Context, request uuid.UUID, id int32) (rental.Receipt, rental.Answer, error) {
		return v.Desk.Pay(ctx, request, v.customer, id)
	})
}

// signIn makes the visitor the chosen customer.
func signIn(v *visit) error {
	if err := v.form(); err != nil {
		return err
	}
	id := number(v.r.PostForm.Get("customer"))
	if id == 0 {
		return appliance.NewProblem(appliance.ErrUsage, "no customer is chosen").WithHint("Choose one from the list.")
	}
	if _, _, err := v.Desk.Customer(v.r.Context(), v.token, id); err != nil {
		return err
	}
	v.setCookie("customer", strconv.Itoa(int(id)))
	if f := number(v.r.PostForm.Get("film")); f > 0 {
		return v.redirect("/films/" + strconv.Itoa(int(f)))
	}
	return v.redirect("/rentals")
}

// signOut forgets the customer and the position of the customer's writes.
func signOut(v *visit) error {
	v.setCookie("customer", "")
	v.setCookie("seen", "")
	return v.redirect("/")
}
