package api

import (
	"net/http"
	"strings"
	"testing"

	"pgapp/appliance"
)

func TestIfMatch(t *testing.T) {
	t.Parallel()
	f := newFake()
	d := start(t, f, nil)
	const path = "/api/v1/clusters/main"
	match := func(tag string) http.Header { return http.Header{"If-Match": {tag}} }
	request(t, d, "PUT", path, `{}`, match(`"1"`), 412, appliance.ErrPrecondition)
	request(t, d, "PUT", path, `{}`, nil, 202, "")
	f.finish("op1")
	h, _ := request(t, d, "GET", path, "", nil, 200, "")
	if h.Get("ETag") != `"1"` {
		t.Errorf("ETag %q", h.Get("ETag"))
	}
	request(t, d, "PUT", path, `{"standbys":1}`, nil, 428, appliance.ErrPreconditionNeed)
	for _, stale := range []string{`"2"`, `W/"1"`, `1`, `""`} {
		request(t, d, "PUT", path, `{"standbys":1}`, match(stale), 412, appliance.ErrPrecondition)
	}
	_, body := request(t, d, "PUT", path+"?dry_run=true", `{"standbys":1}`, nil, 200, "")
	if !strings.Contains(body, `"state":"planned"`) || !strings.Contains(body, "record the change") {
		t.Errorf("a dry run answers %s", body)
	}
	request(t, d, "PUT", path, `{"standbys":1}`, match(`"7", "1"`), 202, "")
	f.finish("op2")
	request(t, d, "PUT", path, `{"standbys":1}`, match("*"), 202, "")
	if len(f.order) != 3 {
		t.Errorf("operations %v", f.order)
	}
}

func TestScaleRoutes(t *testing.T) {
	t.Parallel()
	f := newFake()
	d := start(t, f, nil)
	const path = "/api/v1/clusters/main/members"
	request(t, d, "POST", path, "", nil, 404, appliance.ErrNotFound)
	request(t, d, "POST", "/api/v1/clusters", `{"name":"main","standbys":2}`, nil, 202, "")
	f.finish("op1")
	for i, c := range []struct {
		method, path, body string
		want               int
	}{{"POST", path, "", 3}, {"POST", path, `{"standbys":5}`, 5}, {"DELETE", path + "/node1", "", 1}} {
		request(t, d, c.method, c.path, c.body, nil, 202, "")
		id := f.order[i+1]
		if o := f.ops[id]; o.Kind != appliance.OpScale || o.Params.Change.Standbys != c.want {
			t.Errorf("%s %s: %+v", c.method, c.path, o)
		}
		f.finish(id)
	}
	request(t, d, "DELETE", path+"/node0", "", nil, 409, appliance.ErrConflict)
	request(t, d, "POST", path, `{"standbys":17}`, nil, 422, appliance.ErrInvalidSpec)
	request(t, d, "POST", path, `{"standbys":"x"}`, nil, 422, appliance.ErrInvalidSpec)
}
