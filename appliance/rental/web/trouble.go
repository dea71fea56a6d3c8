package web

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"pgapp/appliance"
)

// trouble is a page that says what went wrong and what to do.
type trouble struct {
	Message, Advice string
	// Again sends the form once more, or is nil.
	Again *resend
	Links []link
}

type link struct{ Path, Text string }

// resend is the form that was sent.
type resend struct {
	Path   string
	Fields []field
}

type field struct{ Name, Value string }

// fail shows an error as a page. Of errors that are no problem for the visitor it says
// nothing: they may name addresses and statements.
func (v *visit) fail(err error) {
	var p *appliance.Problem
	if !errors.As(err, &p) {
		p = appliance.NewProblem(appliance.ErrInternal, "something went wrong")
	}
	_, status := p.ID.Codes()
	t := trouble{Message: sentence(p.Message), Advice: p.Hint, Links: []link{{"/", "Front page"}}}
	if v.customer > 0 {
		t.Links = append(t.Links, link{"/rentals", "My rentals"})
	}
	switch {
	case p.ID == appliance.ErrTimeout:
		v.Failed(err)
		v.timedOut(&t)
	case p.ID == appliance.ErrIdempotencyReuse:
		t.Message, t.Advice = "This form was sent before, for something else.", "Load the page again, and send its form."
	case status >= http.StatusInternalServerError:
		v.Failed(err)
		t.Message, t.Advice = "The site could not answer.", "Try again. If it stays so, look at the terminal in which pgapp demo runs: it says why."
	case t.Advice == "" && status == http.StatusNotFound:
		t.Advice = "Search for a film, or begin at the front page."
	case t.Advice == "":
		t.Advice = "Load the page again to see how things stand."
	}
	if err := v.show(status, "error", heading(status), t); err != nil {
		v.Failed(err)
	}
}

// timedOut says what to do when no member answered in time.
func (v *visit) timedOut(t *trouble) {
	t.Message = fmt.Sprintf("No member of the cluster answered within %s.", v.Patience)
	if v.r.Method != http.MethodPost || v.r.PostForm == nil {
		t.Advice = "Load the page again. pgapp ps shows how the cluster is."
		return
	}
	t.Advice = "Whether the request is done is open. Send it again: it is done once, however often it is sent. pgapp ps shows how the cluster is."
	t.Again = &resend{Path: v.r.URL.Path}
	for _, name := range []string{"request", "run", "store", "pay", "customer", "film"} {
		if value := v.r.PostForm.Get(name); value != "" {
			t.Again.Fields = append(t.Again.Fields, field{name, value})
		}
	}
}

func heading(status int) string {
	switch status {
	case http.StatusNotFound:
		return "Not here"
	case http.StatusConflict:
		return "That is not possible"
	case http.StatusGatewayTimeout:
		return "No answer in time"
	}
	if status >= http.StatusInternalServerError {
		return "Something went wrong"
	}
	return "Not like this"
}

// sentence makes a problem's message a sentence.
func sentence(message string) string {
	if message == "" {
		return ""
	}
	return strings.ToUpper(message[:1]) + message[1:] + "."
}
