package suitefile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgapp/appliance"
)

// little is the least that a file has.
const little = `name: mine
experiments:
  - name: reads
    title: More?
    measure: throughput
    variants:
      - name: alone
`

func parse(t *testing.T, text string) File {
	t.Helper()
	f, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v: %+v", err, err)
	}
	return f
}

func TestOwnFilesAnswerTheQuestionsOfTheReport(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		short       bool
		want        []string
		leastSecond float64
		mostSeconds float64
	}{
		{false, []string{"reads throughput", "mix throughput", "durability throughput", "commit commit", "endpoint latency", "consistency redirects", "bursts lag", "outage outage"}, 1200, 2100},
		{true, []string{"reads throughput", "commit commit", "endpoint latency", "consistency redirects", "bursts lag", "outage outage"}, 40, 90},
	} {
		f := parse(t, string(Own(tc.short)))
		all := f.Experiments(3, appliance.DurabilityQuorum)
		var got []string
		seconds := 0.0
		events := map[appliance.BenchEvent]bool{}
		for _, e := range all {
			got = append(got, e.Name+" "+e.Measure)
			if e.Repeats < 3 || len(e.Variants) < 2 {
				t.Errorf("%s has %d repeats and %d variants", e.Name, e.Repeats, len(e.Variants))
			}
			for _, v := range e.Variants {
				seconds += float64(e.Repeats) * (v.Load.WarmupSeconds + v.Load.DurationSeconds)
				events[v.Event] = true
				if v.Standbys < 0 || v.Standbys > 3 {
					t.Errorf("%s of %s has %d standbys", v.Name, e.Name, v.Standbys)
				}
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("short %t: experiments %q, want %q", tc.short, got, tc.want)
		}
		if !events[appliance.BenchSwitchover] || !events[appliance.BenchKillPrimary] {
			t.Errorf("short %t: events %v", tc.short, events)
		}
		if seconds < tc.leastSecond || seconds > tc.mostSeconds {
			t.Errorf("short %t: the loads take %v seconds", tc.short, seconds)
		}
	}
}

func TestSettingsFurtherInOverrideThoseFurtherOut(t *testing.T) {
	t.Parallel()
	f := parse(t, `
name: mine
seed: 7
repeats: 4
clients: 2
rate: 10
event: switchover
experiments:
  - {name: one, title: One?, measure: latency, clients: 3, variants: [{name: a}, {name: b, clients: 5, event: none, standbys: 1, durability: quorum}]}
  - {name: two, title: Two?, measure: outage, repeats: 3, read_percent: 2.5, standbys: 2, variants: [{name: a, standbys: all}, {name: c, rate: 0, think_ms: 5}]}
`)
	f.Seed = 9
	got := f.Experiments(3, appliance.DurabilityAsync)
	base := usual()
	base.Standbys, base.Durability, base.Event = 3, "async", appliance.BenchSwitchover
	base.Load.Seed, base.Load.Clients, base.Load.Rate = 9, 2, 10
	with := func(name string, change func(*appliance.BenchVariant)) appliance.BenchVariant {
		v := base
		v.Name = name
		change(&v)
		return v
	}
	want := [][]appliance.BenchVariant{
		{
			with("a", func(v *appliance.BenchVariant) { v.Load.Clients = 3 }),
			with("b", func(v *appliance.BenchVariant) {
				v.Load.Clients, v.Event, v.Standbys, v.Durability = 5, "", 1, "quorum"
			}),
		},
		{
			with("a", func(v *appliance.BenchVariant) { v.Load.ReadPercent = 2.5 }),
			with("c", func(v *appliance.BenchVariant) {
				v.Standbys, v.Load.ReadPercent, v.Load.Rate, v.Load.ThinkMillis = 2, 2.5, 0, 5
			}),
		},
	}
	if len(got) != 2 || got[0].Repeats != 4 || got[1].Repeats != 3 {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if !slices.Equal(got[i].Variants, want[i]) {
			t.Errorf("%s:\n got %+v\nwant %+v", got[i].Name, got[i].Variants, want[i])
		}
	}
	if again := f.Experiments(1, appliance.DurabilityQuorum); again[0].Variants[0].Standbys != 1 || again[0].Variants[0].Durability != "quorum" || got[0].Variants[0].Standbys != 3 {
		t.Errorf("for another cluster: %+v", again[0].Variants[0])
	}
}

func TestParseNamesTheWrongField(t *testing.T) {
	t.Parallel()
	with := func(line string) string { return line + "\n" + little }
	variant := func(fields string) string {
		return strings.Replace(little, "- name: alone", "- {name: alone, "+fields+"}", 1)
	}
	replaced := func(old, new string) string { return strings.Replace(little, old, new, 1) }
	for text, want := range map[string]string{
		with("clients: 0"):                                        "clients has to be from 1 to 1000, not 0 (line 1)",
		with("clients: 2.5"):                                      "clients has to be a whole number from 1 to 1000, not 2.5 (line 1)",
		with("clients: \"8\""):                                    `clients has to be a whole number from 1 to 1000, not "8" (line 1)`,
		with("clients: -3"):                                       "clients has to be a whole number from 1 to 1000, not -3 (line 1)",
		with("clients:"):                                          "clients has to be a whole number from 1 to 1000, not nothing (line 1)",
		variant("clients: 5000"):                                  "experiments[0].variants[0].clients has to be from 1 to 1000, not 5000 (line 7)",
		variant("read_percent: 101"):                              "experiments[0].variants[0].read_percent has to be from 0 to 100, not 101 (line 7)",
		variant("read_percent: .nan"):                             "experiments[0].variants[0].read_percent has to be a number, not .nan (line 7)",
		with("rate: .inf"):                                        "rate has to be a number, not .inf (line 1)",
		with("rate: 1e9"):                                         `rate has to be a number, not "1e9" (line 1)`,
		with("rate: -1"):                                          "rate has to be from 0 to 100000, not -1 (line 1)",
		with("rate: 5\nthink_ms: 5"):                              "think_ms rate and think_ms exclude each other: requests of an open loop arrive by the rate (line 2)",
		with("duration_seconds: 0"):                               "duration_seconds has to be from 1 to 86400, not 0 (line 1)",
		with("warmup_seconds: [5]"):                               "warmup_seconds has to be a number, not a list (line 1)",
		with("zipf: {a: 1}"):                                      "zipf has to be a number, not fields (line 1)",
		with("consistency: strong"):                               `consistency has to be eventual or session, not "strong" (line 1)`,
		with("through: /etc/passwd"):                              `through has to be members or endpoint, not "/etc/passwd" (line 1)`,
		with("read_from: node1"):                                  `read_from has to be standbys or primary, not "node1" (line 1)`,
		with("durability: none"):                                  `durability has to be async or quorum, not "none" (line 1)`,
		with("event: rm -rf"):                                     `event has to be switchover, kill-primary or none, not "rm -rf" (line 1)`,
		with("standbys: few"):                                     `standbys has to be a whole number from 0 to 100, or all, not "few" (line 1)`,
		with("standbys: 101"):                                     "standbys has to be a whole number from 0 to 100, or all, not 101 (line 1)",
		with("seed: -1"):                                          "seed has to be a whole number from 0 on, not -1 (line 1)",
		with("seed: 99999999999999999999"):                        `seed has to be a whole number from 0 on, not "99999999999999999999" (line 1)`,
		with("repeats: 2"):                                        "repeats has to be a whole number from 3 to 20, not 2 (line 1)",
		with("repeats: 21"):                                       "repeats has to be a whole number from 3 to 20, not 21 (line 1)",
		with("sql: DROP TABLE film"):                              "sql is no field of a suite's file here; there are name, seed",
		variant("command: reboot"):                                "experiments[0].variants[0].command is no field of a suite's file here",
		variant("repeats: 3"):                                     "experiments[0].variants[0].repeats is no field of a suite's file here",
		replaced("name: mine", "name: ../mine"):                   `name has to be a word of at most 40 small letters, digits and hyphens that begins with a letter, not "../mine" (line 1)`,
		replaced("name: mine\n", ""):                              "name has to be text, not nothing (line 1)",
		replaced("name: reads", "name: \"a; DROP TABLE film\""):   "experiments[0].name has to be a word",
		replaced("name: alone", "name: =1+1"):                     "experiments[0].variants[0].name has to be at most 40 letters",
		replaced("name: alone", "name: \"a\\u001b[2J\""):          "experiments[0].variants[0].name has to be at most 40 letters",
		replaced("name: alone", "name: "+strings.Repeat("a", 41)): "experiments[0].variants[0].name has to be at most 40 letters",
		replaced("title: More?", "title: \"<b>\""):                "experiments[0].title has to be a line",
		replaced("title: More?", "title: \"a\\u202eb\""):          "experiments[0].title has to be a line",
		replaced("title: More?", "title: |\n      a\n      b"):    "experiments[0].title has to be text",
		replaced("measure: throughput", "measure: speed"):         `experiments[0].measure has to be throughput, latency, commit, lag, outage or redirects, not "speed" (line 5)`,
		replaced("measure: throughput", "measure: outage"):        "experiments[0].variants[0] has no event, and the measure is outage (line 7)",
		replaced("measure: throughput", "measure: commit\n    read_percent: 100"):  "experiments[0].variants[0] has no writes",
		replaced("measure: throughput", "measure: lag\n    standbys: 0"):           "experiments[0].variants[0] has no standby",
		replaced("measure: throughput", "measure: redirects\n    read_percent: 0"): "experiments[0].variants[0] has no reads",
		variant("standbys: 0, durability: quorum"):                                 "experiments[0].variants[0].durability is quorum, which needs a standby, and experiments[0].variants[0] has standbys 0 (line 7)",
		variant("standbys: 0, event: kill-primary"):                                "experiments[0].variants[0].event is kill-primary, which needs a standby",
		with("event: switchover") + "        standbys: 0\n":                        "event is switchover, which needs a standby that takes over, and experiments[0].variants[0] has standbys 0 (line 1)",
		little + "      - name: alone\n":                                           `experiments[0].variants[1].name is there twice: "alone" (line 8)`,
		little + strings.TrimPrefix(little, "name: mine\nexperiments:\n"):          `experiments[1].name is there twice: "reads" (line 8)`,
		"":                                 "the file has to be fields with values, not nothing (line 1)",
		"name: mine\nexperiments: []\n":    "experiments has to have 1 to 24 items, not 0 (line 2)",
		"name: mine\nexperiments: 5\n":     "experiments has to be a list, not 5 (line 2)",
		"name: mine\nexperiments: [5]\n":   "experiments[0] has to be fields with values, not 5 (line 2)",
		"name: &a mine\nexperiments: *a\n": "name has to be text, not & (line 1)",
		"<<: {clients: 5}\n" + little:      "<< is no field of a suite's file here",
		with("clients: !!int \"5\""):       "clients has to be a whole number from 1 to 1000, not !!int (line 1)",
		with("duration_seconds: 30000"):    "experiments take 25.0 hours with all repeats, and the most is 24 (line 3)",
	} {
		_, err := Parse([]byte(text))
		var p *appliance.Problem
		if !errors.As(err, &p) || p.ID != appliance.ErrInvalidSpec || len(p.Fields) == 0 {
			t.Errorf("%s\n got %v, want fields", text, err)
			continue
		}
		var told []string
		for _, f := range p.Fields {
			told = append(told, f.Field+" "+f.Message)
		}
		if !strings.HasPrefix(told[0], want) || !strings.Contains(told[0], "(line ") {
			t.Errorf("%s\n got %q\nwant %q", text, told, want)
		}
	}
}

func TestParseRefusesTextThatIsNoFile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"name: mine\nname: yours\n":            `line 2: mapping key "name" already defined`,
		"name: a\n\"name\": b\n":               "already defined",
		"name: [\n":                            "line 1: ",
		"a: 1\n---\nb: 1\n":                    "more than one document",
		"name: \xff\n":                         "not UTF-8",
		strings.Repeat("#", MaxSize+1):         "at most 16384 bytes",
		strings.Repeat("[", MaxSize):           "more than 1000 brackets",
		strings.Repeat("[", 1000):              "line 1: ",
		"name: " + strings.Repeat("b: ", 3000): "line 1: ",
	} {
		_, err := Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || len(fmt.Sprintf("%+v", err)) > 5000 {
			t.Errorf("%.60q: %.300v, want %q", text, err, want)
		}
	}
}

func TestParseLimitsTheNumberOfThings(t *testing.T) {
	t.Parallel()
	many := func(experiments, variants, repeats int) string {
		var b strings.Builder
		fmt.Fprintf(&b, "name: many\nrepeats: %d\nduration_seconds: 1\nwarmup_seconds: 0\nexperiments:\n", repeats)
		for e := range experiments {
			fmt.Fprintf(&b, "- {name: e%d, title: E, measure: lag, variants: [", e)
			for v := range variants {
				fmt.Fprintf(&b, "{name: v%d},", v)
			}
			b.WriteString("]}\n")
		}
		return b.String()
	}
	for text, want := range map[string]string{
		many(24, 13, 3): "",
		many(25, 1, 3):  "experiments has to have 1 to 24 items, not 25",
		many(1, 17, 3):  "experiments[0].variants has to have 1 to 16 items, not 17",
		many(24, 14, 3): "experiments have 1008 points with all repeats, and the most is 1000",
		many(4, 13, 20): "experiments have 1040 points with all repeats, and the most is 1000",
	} {
		_, err := Parse([]byte(text))
		var p *appliance.Problem
		if want == "" {
			if err != nil {
				t.Errorf("%.80s: %+v", text, err)
			}
			continue
		}
		if !errors.As(err, &p) || len(p.Fields) != 1 || !strings.HasPrefix(p.Fields[0].Field+" "+p.Fields[0].Message, want) {
			t.Errorf("%.80s: %+v, want %q", text, err, want)
		}
	}
}

// FuzzParse reads mutated files: no panic, and what is accepted holds to the limits.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		string(Own(false)), string(Own(true)), little, "name: &a main\nexperiments: *a\n", "<<: &m {name: main}\n", "? a\n: b\n", "- a\n", "name: |\n  a\n", "a: !!binary YQ==\n",
		"name: mine\nseed: 0x10\nclients: 1_000\n" + little[len("name: mine\n"):], "\ufeff" + little, "%YAML 1.2\n---\n" + little, little + "...\n", strings.ReplaceAll(little, "\n", "\r\n"),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 2000 && !slices.Equal(text, Own(false)) && !slices.Equal(text, Own(true)) {
			text = text[:2000] // the parser is slow with deep nesting
		}
		file, err := Parse(text)
		if err != nil {
			var p *appliance.Problem
			if !errors.As(err, &p) || p.Message == "" {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		acceptable(t, text, file)
	})
}

// acceptable wants nothing but numbers within limits and words out of lists.
func acceptable(t *testing.T, text []byte, file File) {
	t.Helper()
	words := map[string]bool{
		"async": true, "quorum": true, "": true, "switchover": true, "kill-primary": true, "eventual": true, "session": true, "members": true, "endpoint": true, "standbys": true, "primary": true,
	}
	for _, e := range file.Experiments(3, appliance.DurabilityAsync) {
		if e.Repeats < 3 || e.Repeats > 20 || !slices.Contains(measures(), e.Measure) || len(e.Name) > 40 || strings.ContainsAny(e.Name, "/;'\"\\ \n") || strings.ContainsAny(e.Title, "\n\x00\x1b") {
			t.Errorf("%q: %+v", text, e)
		}
		for _, v := range e.Variants {
			for _, w := range []string{v.Durability, string(v.Event), v.Load.Consistency, v.Load.Through, v.Load.ReadFrom} {
				if !words[w] {
					t.Errorf("%q: word %q, of %v", text, w, slices.Sorted(maps.Keys(words)))
				}
			}
			if strings.ContainsAny(v.Name, "/;'\"\\=\n") || v.Name == "" || v.Load.Clients < 1 || v.Load.Clients > 1000 || v.Load.DurationSeconds < 1 || v.Load.Rate < 0 || v.Standbys < 0 || v.Standbys > 100 {
				t.Errorf("%q: %+v", text, v)
			}
		}
	}
}
