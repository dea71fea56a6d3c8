package suitefile

import (
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"pgapp/appliance"
	"pgapp/appliance/bench/load"
)

// noEvent is written where a variant has no event though its experiment has.
const noEvent = "none"

// setting is a field that a file, an experiment and a variant may have: what is further in
// overrides what is further out.
type setting struct {
	name string
	// set takes the value over, or says what it has to be.
	set func(*appliance.BenchVariant, ast.Node) (want string)
}

func settings() []setting {
	return []setting{
		{"standbys", setStandbys},
		{"durability", oneOf(func(v *appliance.BenchVariant) *string { return &v.Durability }, string(appliance.DurabilityAsync), string(appliance.DurabilityQuorum))},
		{"event", setEvent},
		{"read_percent", number(func(v *appliance.BenchVariant) *float64 { return &v.Load.ReadPercent })},
		{"clients", setClients},
		{"rate", number(func(v *appliance.BenchVariant) *float64 { return &v.Load.Rate })},
		{"think_ms", number(func(v *appliance.BenchVariant) *float64 { return &v.Load.ThinkMillis })},
		{"zipf", number(func(v *appliance.BenchVariant) *float64 { return &v.Load.Zipf })},
		{"warmup_seconds", number(func(v *appliance.BenchVariant) *float64 { return &v.Load.WarmupSeconds })},
		{"duration_seconds", number(func(v *appliance.BenchVariant) *float64 { return &v.Load.DurationSeconds })},
		{"consistency", oneOf(func(v *appliance.BenchVariant) *string { return &v.Load.Consistency }, "eventual", "session")},
		{"through", oneOf(func(v *appliance.BenchVariant) *string { return &v.Load.Through }, load.ThroughMembers, load.ThroughEndpoint)},
		{"read_from", oneOf(func(v *appliance.BenchVariant) *string { return &v.Load.ReadFrom }, load.FromStandbys, load.FromPrimary)},
	}
}

func settingNames() []string {
	var out []string
	for _, s := range settings() {
		out = append(out, s.name)
	}
	return out
}

// usual is a variant of a file that sets nothing.
func usual() appliance.BenchVariant {
	return appliance.BenchVariant{Standbys: allStandbys, Load: appliance.BenchLoad{
		ReadPercent: 95, Clients: 8, Zipf: 0.8, WarmupSeconds: 2, DurationSeconds: 10,
		Consistency: "eventual", Through: load.ThroughMembers, ReadFrom: load.FromStandbys,
	}}
}

// over are the settings of o above those that it inherits.
func (r *reader) over(inherited map[string]field, o object) map[string]field {
	out := maps.Clone(inherited)
	for _, s := range settings() {
		f, ok := o.fields[s.name]
		if !ok {
			continue
		}
		if want := s.set(&appliance.BenchVariant{}, f.node); want != "" {
			r.fail(f, "has to be %s, not %s", want, shown(f.node))
		}
		out[s.name] = f
	}
	return out
}

// variant is the one that the settings describe. where is its own place.
func (r *reader) variant(given map[string]field, where field) appliance.BenchVariant {
	v := usual()
	for _, s := range settings() {
		f, ok := given[s.name]
		if ok && s.set(&v, f.node) != "" {
			return v // over has said so
		}
	}
	at := where
	err := load.Check(v.Load, func(name string) string {
		if f, ok := given[name]; ok {
			at = f
			return f.path
		}
		return name
	})
	if err != nil {
		message, _ := strings.CutPrefix(err.Error(), at.path+" ")
		r.fail(at, "%s", message)
		return v
	}
	r.possible(v, given, where)
	return v
}

// possible refuses a variant that contradicts itself.
func (r *reader) possible(v appliance.BenchVariant, given map[string]field, where field) {
	at := func(name string) field {
		if f, ok := given[name]; ok {
			return f
		}
		return where
	}
	switch {
	case v.Standbys == 0 && v.Durability == string(appliance.DurabilityQuorum):
		r.fail(at("durability"), "is quorum, which needs a standby, and %s has standbys 0", where.path)
	case v.Standbys == 0 && v.Event != "":
		r.fail(at("event"), "is %s, which needs a standby that takes over, and %s has standbys 0", v.Event, where.path)
	}
}

// number sets a number, whose limits are [load.Check]'s.
func number(of func(*appliance.BenchVariant) *float64) func(*appliance.BenchVariant, ast.Node) string {
	return func(v *appliance.BenchVariant, n ast.Node) string {
		switch n := n.(type) {
		case *ast.FloatNode:
			*of(v) = n.Value
			return ""
		case *ast.IntegerNode:
			switch i := n.Value.(type) {
			case int64:
				*of(v) = float64(i)
				return ""
			case uint64:
				*of(v) = float64(i)
				return ""
			}
		}
		return "a number"
	}
}

// whole is a number without decimals, from zero on.
func whole(n ast.Node) (uint64, bool) {
	i, ok := n.(*ast.IntegerNode)
	if !ok {
		return 0, false
	}
	u, ok := i.Value.(uint64)
	return u, ok
}

// mostWhole bounds what is taken over as an int. All limits are below.
const mostWhole = 1 << 20

func setClients(v *appliance.BenchVariant, n ast.Node) string {
	u, ok := whole(n)
	if !ok || u > mostWhole {
		return "a whole number from 1 to 1000"
	}
	v.Load.Clients = int(u) // #nosec G115 -- bounded
	return ""
}

func setStandbys(v *appliance.BenchVariant, n ast.Node) string {
	const most = 100
	if s, ok := n.(*ast.StringNode); ok && s.Value == "all" {
		v.Standbys = allStandbys
		return ""
	}
	u, ok := whole(n)
	if !ok || u > most {
		return "a whole number from 0 to 100, or all"
	}
	v.Standbys = int(u) // #nosec G115 -- bounded
	return ""
}

// oneOf sets a word out of a list.
func oneOf(of func(*appliance.BenchVariant) *string, words ...string) func(*appliance.BenchVariant, ast.Node) string {
	return func(v *appliance.BenchVariant, n ast.Node) string {
		s, ok := n.(*ast.StringNode)
		if !ok || !slices.Contains(words, s.Value) {
			return choice(words)
		}
		*of(v) = s.Value
		return ""
	}
}

func setEvent(v *appliance.BenchVariant, n ast.Node) string {
	var word string
	set := oneOf(func(*appliance.BenchVariant) *string { return &word }, string(appliance.BenchSwitchover), string(appliance.BenchKillPrimary), noEvent)
	want := set(v, n)
	if want == "" && word == noEvent {
		word = ""
	}
	v.Event = appliance.BenchEvent(word)
	return want
}

// choice lists words in a sentence.
func choice(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
