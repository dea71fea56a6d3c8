package api

import (
	"net/http"
	"net/url"

	"pgapp/appliance"
)

// checkQuery refuses a query that can't be parsed, and parameters that are
// repeated or have no value. Ignoring a parameter could make a request do more
// than was meant.
func checkQuery(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := queryProblem(r.URL.RawQuery, attributesOf(r.Context()).repeats); p != nil {
			writeProblem(w, r, p, 0)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func queryProblem(raw, repeats string) *appliance.Problem {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return appliance.NewProblem(appliance.ErrUsage, "the query can't be read: %w", err).
			WithHint("separate parameters with &, and percent-encode all characters but letters and digits")
	}
	for name, list := range values {
		switch {
		case len(list) > 1 && name != repeats:
			return appliance.NewProblem(appliance.ErrUsage, "the query parameter %s is given %d times", visible(name), len(list))
		case list[0] == "":
			return appliance.NewProblem(appliance.ErrUsage, "the query parameter %s has no value", visible(name)).WithHint("%s=VALUE, or leave it out", visible(name))
		}
	}
	return nil
}
