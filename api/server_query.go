package api

import (
	"net/http"
	"net/url"

	"pgapp/appliance"
)

// checkQuery refuses queries of which a part would not be looked at: one that
// can't be read, a parameter that is given twice, or without a value. What is
// passed over could be what was meant to make the request harmless.
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
			WithHint("separate parameters with & and escape other characters than letters and digits")
	}
	for name, list := range values {
		switch {
		case len(list) > 1 && name != repeats:
			return appliance.NewProblem(appliance.ErrUsage, "the query has %s %d times", visible(name), len(list))
		case list[0] == "":
			return appliance.NewProblem(appliance.ErrUsage, "the query has %s without a value", visible(name)).WithHint("%s=VALUE, or leave it out", visible(name))
		}
	}
	return nil
}
