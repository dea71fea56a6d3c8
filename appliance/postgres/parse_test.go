package postgres

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"pgapp/appliance"
)

func TestScramVerifier(t *testing.T) {
	t.Parallel()
	// RFC 7677's example: user "user", password "pencil".
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	const want = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	if got := ScramVerifier(appliance.NewSecret("pencil"), salt); got != want {
		t.Errorf("got %s", got)
	}
	if one, other := string(newSalt()), string(newSalt()); one == other {
		t.Error("two salts are the same")
	}
}

func TestParseInspection(t *testing.T) {
	t.Parallel()
	const control = "Database system identifier:           7711743887919573485\nDatabase cluster state:               in archive recovery\n" +
		"Latest checkpoint's TimeLineID:       1\nMin recovery ending loc's timeline:   2\n"
	for _, c := range []struct {
		name, out string
		want      DataDir
		id        appliance.ErrorID
	}{
		{"absent", "absent", DataDir{}, ""},
		{"foreign", "foreign", DataDir{Exists: true, Foreign: true}, ""},
		{"standby", "standby\nrunning\n" + control, DataDir{
			Exists: true, Initialised: true, InRecovery: true, Running: true, SystemIdentifier: "7711743887919573485", Timeline: 2, State: "in archive recovery",
		}, ""},
		{"damaged", "WARNING: Calculated CRC checksum does not match value stored in file.\n" + control, DataDir{Exists: true, Foreign: true}, appliance.ErrDataDirForeign},
		{"strange", "nothing", DataDir{}, appliance.ErrInternal},
	} {
		got, err := parseInspection("/data", c.out)
		if got != c.want {
			t.Errorf("%s: %+v", c.name, got)
		}
		if p := appliance.AsProblem(err); (p == nil) != (c.id == "") || p != nil && p.ID != c.id {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestParsePSQL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in, line, message string
		ok                bool
	}{
		{"psql:<stdin>:7: ERROR:  relation \"x\" does not exist\nLINE 1: SELECT", "7", `relation "x" does not exist`, true},
		{"psql:<stdin>:3: WARNING:  odd\npsql:<stdin>:9: ERROR:  syntax error at or near \"x\" at character 1\n", "9", `syntax error at or near "x" at character 1`, true},
		{"psql:<stdin>:2: error: invalid command \\foo\n", "2", `invalid command \foo`, true},
		{"psql: error: connection to server failed: FATAL:  no\n", "", "connection to server failed: FATAL:  no", true},
		{"ERROR:  canceling statement\n", "", "canceling statement", true},
		{"nothing\n", "", "", false},
	} {
		got, ok := parsePSQL(c.in)
		if ok != c.ok || got.line != c.line || got.message != c.message {
			t.Errorf("%q: %+v %v", c.in, got, ok)
		}
	}
}

func TestParseBackupProgress(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]appliance.Progress{
		"23168/46336 kB (50%), 0/1 tablespace":                          {Detail: "base backup", BytesDone: 23168 << 10, BytesTotal: 46336 << 10},
		"    0/1 kB (0%), 0/1 tablespace (...p/data/global/pg_control)": {Detail: "base backup", BytesTotal: 1 << 10},
		"waiting for checkpoint":                                        {},
		"12 kB":                                                         {}, "99999999999999999999/1 kB (": {},
	} {
		if got, ok := parseBackupProgress(in); got != want || ok != (want.Detail != "") {
			t.Errorf("%q: %+v %v", in, got, ok)
		}
	}
}

func TestUserParameterAndScratchNames(t *testing.T) {
	t.Parallel()
	if got := scratchName("films"); got != "pgapp_load_films" {
		t.Error(got)
	}
	if got := scratchName(strings.Repeat("x", 63)); len(got) != 63 {
		t.Error(got)
	}
	if err := userParameter("pg_stat_statements.max"); err != nil {
		t.Error(err)
	}
}

func TestNotStreaming(t *testing.T) {
	t.Parallel()
	rows := []appliance.ReplicationRow{
		{ApplicationName: "node1", State: "startup"},
		{ApplicationName: "node1", State: "streaming", SentLSN: "0/5000148"},
		{ApplicationName: "node2", State: "catchup", SentLSN: "0/5000148"},
		{ApplicationName: "node4", State: "streaming", SentLSN: "0/5000000"}, // the end of the timeline before
	}
	got := strings.Join(notStreaming(rows, []string{"node1", "node2", "node3", "node4"}, "0/5000148"), ", ")
	if got != "node2 (catchup), node3 (not connected), node4 (catchup)" {
		t.Error(got)
	}
}

func TestParseHistory(t *testing.T) {
	t.Parallel()
	got := parseHistory("1\t0/3000000\tno recovery target specified\n\n2\t0/5000000\tbefore 2000-01-01\nnonsense\n")
	if want := []Ancestor{{1, "0/3000000"}, {2, "0/5000000"}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
