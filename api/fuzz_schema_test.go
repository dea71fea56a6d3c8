package api

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// document is the part of openapi.json that the generator reads.
type document struct {
	Paths      map[string]map[string]*described `json:"paths"`
	Components struct {
		Schemas map[string]*schema `json:"schemas"`
	} `json:"components"`
}

// described is one operation of the document.
type described struct {
	ID         string     `json:"operationId"`
	Parameters []paramDoc `json:"parameters"`
	Body       *struct {
		Content map[string]struct {
			Schema *schema `json:"schema"`
		} `json:"content"`
	} `json:"requestBody"`
	Security []map[string][]string `json:"security"` // none where no token is needed

	method, path string
	json         *schema // of its body, resolved
	binary       bool    // takes any body
}

type paramDoc struct {
	Name   string  `json:"name"`
	In     string  `json:"in"`
	Schema *schema `json:"schema"`
}

// schema is what of JSON Schema the document uses for requests.
type schema struct {
	Ref        string             `json:"$ref"`
	Type       any                `json:"type"`
	Enum       []any              `json:"enum"`
	Pattern    string             `json:"pattern"`
	MaxLength  *int               `json:"maxLength"`
	Minimum    *float64           `json:"minimum"`
	Maximum    *float64           `json:"maximum"`
	Items      *schema            `json:"items"`
	Properties map[string]*schema `json:"properties"`
	Required   []string           `json:"required"`
	Additional json.RawMessage    `json:"additionalProperties"`
}

// readDocument reads the committed file, which is what clients rely on.
func readDocument(t *testing.T) []*described {
	t.Helper()
	data, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc document
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	var all []*described
	for path, methods := range doc.Paths {
		for method, d := range methods {
			d.method, d.path = strings.ToUpper(method), path
			if d.Body != nil {
				if c, ok := d.Body.Content["application/json"]; ok {
					d.json = doc.Components.Schemas[strings.TrimPrefix(c.Schema.Ref, "#/components/schemas/")]
				} else {
					d.binary = true
				}
			}
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b *described) int { return strings.Compare(a.ID, b.ID) })
	return all
}

func (s *schema) kind() string {
	if list, ok := s.Type.([]any); ok && len(list) > 0 {
		k, _ := list[0].(string)
		return k
	}
	k, _ := s.Type.(string)
	return k
}

// takes tells whether the schema accepts a string.
func (s *schema) takes(v string) bool {
	if s.MaxLength != nil && len([]rune(v)) > *s.MaxLength {
		return false
	}
	if s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(v) {
		return false
	}
	return len(s.Enum) == 0 || slices.Contains(s.Enum, any(v))
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// plain returns strings that match the patterns of the document.
func plain() []string {
	return []string{
		"main", "shop", "node0", "node1", "node2", "node9", "op1", "op2", "op3", "t1", "t2", "monitoring", "1", "2", "9", "18446744073709551615",
		"debian-13", "key-1", "0190f2b4-7b1e-4c55-9d6a-1f0e6f3a2b11", fakeBench, "sha256:" + strings.Repeat("0a", 32), "age1x", "correct horse",
	}
}

// hints are values that make sense in fields whose schema only says string.
func hints(name string) []any {
	switch name {
	case "provider":
		return []any{"local"}
	case "database":
		return []any{"pagila", "shop"}
	case "dataset":
		return []any{"pagila", "none"}
	case "If-Match":
		return []any{`*`, `"1"`, `"2", "1"`}
	case "cluster", "member", "id", "uuid":
		return map[string][]any{
			"cluster": {"main"}, "member": {"node1", "node2"}, "id": {"op1", "op2"}, "uuid": {"0190f2b4-7b1e-4c55-9d6a-1f0e6f3a2b11"},
		}[name]
	case "parameters":
		return []any{map[string]any{"work_mem": "16MB"}}
	case "standbys":
		return []any{0, 1, 3}
	case "for":
		return []any{"90s", "1h30m"}
	case "endpoint_wait":
		return []any{"5s", "1m"}
	case "plaintext":
		return []any{true}
	}
	return nil
}

// value makes a value that the schema accepts, if possible.
func (s *schema) value(r *rand.Rand, name string) any {
	if h := hints(name); h != nil && r.IntN(10) < 8 {
		return pick(r, h)
	}
	if len(s.Enum) > 0 {
		return pick(r, s.Enum)
	}
	switch s.kind() {
	case "boolean":
		return r.IntN(2) == 0
	case "integer", "number":
		low, high := 0.0, 20.0
		if s.Minimum != nil {
			low = max(*s.Minimum, -5)
		}
		if s.Maximum != nil {
			high = min(*s.Maximum, high)
		}
		return int(low) + r.IntN(int(high-low)+1)
	case "array":
		out := []any{}
		for range r.IntN(3) {
			out = append(out, s.Items.value(r, ""))
		}
		return out
	case "object":
		return s.object(r)
	}
	var fit []string
	for _, v := range plain() {
		if s.takes(v) {
			fit = append(fit, v)
		}
	}
	if len(fit) == 0 {
		return ""
	}
	return pick(r, fit)
}

func (s *schema) object(r *rand.Rand) map[string]any {
	out := map[string]any{}
	names := sortedNames(s.Properties)
	// Mostly few fields, since only few fields of a spec go together.
	most := []int{0, 1, 1, 2, len(names)}[r.IntN(5)]
	for _, n := range names {
		if slices.Contains(s.Required, n) || r.IntN(len(names)) < most {
			out[n] = s.Properties[n].value(r, n)
		}
	}
	return out
}

func sortedNames(m map[string]*schema) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// wrong makes a value that the schema certainly refuses, and says why. The
// reason is "" if there is no such value.
func (s *schema) wrong(r *rand.Rand, nice any) (v any, why string) {
	huge := []any{1e30, -1e30, json.Number("1e999"), json.Number("99999999999999999999"), 0.5, 2147483648000.0, -2147483649000.0}
	others := map[string][]any{
		"string":  {1, 0.5, true, []any{"a"}, map[string]any{"a": "b"}},
		"integer": append([]any{"1", true, []any{1}, map[string]any{}, ""}, huge...),
		"boolean": {"true", 1, 0, []any{true}, map[string]any{}},
		"array":   {1, "a", true, map[string]any{}, []any{[]any{}}, []any{1}, []any{map[string]any{}}},
		"object":  {1, "a", true, []any{}, []any{map[string]any{}}},
	}[s.kind()]
	switch {
	case s.kind() == "object" && r.IntN(4) > 0:
		return s.wrongObject(r, nice)
	case s.kind() == "string" && (s.Pattern != "" || len(s.Enum) > 0) && r.IntN(3) > 0:
		bad := s.refused()
		return pick(r, bad), "a string that the schema refuses"
	case len(others) == 0:
		return nil, ""
	}
	return pick(r, others), "not a " + s.kind()
}

// refused returns strings that the schema refuses.
func (s *schema) refused() []string {
	var bad []string
	for _, v := range append(corpus(), "", strings.Repeat("a", 70000), "ａ", "a\u0000", "nul\x00", "😀", "main ", "Main") {
		if !s.takes(v) {
			bad = append(bad, v)
		}
	}
	return bad
}

func (s *schema) wrongObject(r *rand.Rand, nice any) (v any, why string) {
	out := map[string]any{}
	if m, ok := nice.(map[string]any); ok {
		for k, v := range m {
			out[k] = v
		}
	}
	names := sortedNames(s.Properties)
	if len(s.Required) > 0 && r.IntN(3) == 0 {
		delete(out, pick(r, s.Required))
		return out, "a field is missing"
	}
	if r.IntN(3) == 0 && string(s.Additional) == "false" {
		extra := pick(r, append(corpus(), "$schema", "__proto__", "Name", "STANDBYS", "", "x"))
		if s.Properties[extra] == nil {
			out[extra] = pick(r, []any{nil, 1, "x", true, map[string]any{}})
			return out, "a field that there isn't"
		}
	}
	if len(names) == 0 {
		return nil, ""
	}
	n := pick(r, names)
	bad, why := s.Properties[n].wrong(r, out[n])
	if why == "" {
		return nil, ""
	}
	out[n] = bad
	return out, n + ": " + why
}
