package pagila_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgapp/embed/pagila"
)

const fingerprintFile = "testdata/fingerprint.txt"

func TestFilesAreOrderedAndComplete(t *testing.T) {
	t.Parallel()
	got := pagila.Files()
	if !slices.IsSorted(got) || len(got) < 3 {
		t.Fatalf("Files() = %q, want several, sorted", got)
	}
	onDisk, err := filepath.Glob("*.sql")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, onDisk) {
		t.Errorf("Files() = %q, want what lies in the folder: %q", got, onDisk)
	}
}

// TestFilesNeedNoPrivilegeAndNoPsql looks for what would break the two promises of the
// package: any client can send the files, and the database's owner may run them.
func TestFilesNeedNoPrivilegeAndNoPsql(t *testing.T) {
	t.Parallel()
	forbidden := map[string]*regexp.Regexp{
		"a psql command":             regexp.MustCompile(`(?m)^\s*\\`),
		"COPY from the client":       regexp.MustCompile(`(?i)\bFROM\s+stdin\b`),
		"a change of ownership":      regexp.MustCompile(`(?i)\bOWNER\s+TO\b`),
		"an extension":               regexp.MustCompile(`(?i)\bCREATE\s+EXTENSION\b`),
		"transaction control":        regexp.MustCompile(`(?im)^\s*(BEGIN|START TRANSACTION|COMMIT|ROLLBACK)\s*;`),
		"a setting that outlives it": regexp.MustCompile(`(?i)\bALTER\s+(ROLE|DATABASE|SYSTEM)\b`),
	}
	for _, name := range pagila.Files() {
		code := readCode(t, name)
		for what, pattern := range forbidden {
			if found := pattern.Find(code); found != nil {
				t.Errorf("%s contains %s: %q", name, what, found)
			}
		}
	}
}

// TestDataAsksForNothingThatVaries keeps time, chance and the server's hash functions
// out of the generated rows.
func TestDataAsksForNothingThatVaries(t *testing.T) {
	t.Parallel()
	varying := regexp.MustCompile(`(?i)\b(now|random\w*|setseed|gen_random_\w+|uuid\w*|clock_timestamp|\w+_timestamp|current_\w+|localtime\w*|hash\w*)\b\s*(\(|,|;)`)
	for _, name := range pagila.Files() {
		if name < "30" || name >= "50" { // the files with data
			continue
		}
		if found := varying.Find(readCode(t, name)); found != nil {
			t.Errorf("%s uses %q", name, found)
		}
	}
}

// TestTablesMatchFingerprint compares the list that other packages use with the counts
// of the original.
func TestTablesMatchFingerprint(t *testing.T) {
	t.Parallel()
	want := make(map[string]int64)
	parent := make(map[string]string)
	for _, line := range readLines(t, fingerprintFile) {
		field := strings.Split(line, "|")
		switch field[0] {
		case "rows":
			n, err := strconv.ParseInt(field[2], 10, 64)
			if err != nil {
				t.Fatalf("line %q: %v", line, err)
			}
			want[field[1]] = n
		case "partition":
			parent[field[1]] = strings.TrimPrefix(field[2], "of public.")
		}
	}
	got := pagila.Tables()
	if len(got) != len(want) {
		t.Errorf("Tables() has %d entries, want %d", len(got), len(want))
	}
	for _, table := range got {
		if table.Rows != want[table.Name] || table.Partition != parent[table.Name] {
			t.Errorf("%+v, want %d rows and parent %q", table, want[table.Name], parent[table.Name])
		}
	}
	if !slices.IsSortedFunc(got, func(a, b pagila.Table) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("Tables() is not sorted by name")
	}
}

// readCode returns a file of the package without its comments.
func readCode(t *testing.T, name string) []byte {
	t.Helper()
	text, err := pagila.FS.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?m)--.*$`).ReplaceAll(text, nil)
}

// readLines returns a file's lines, without empty ones.
func readLines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return nonEmptyLines(text)
}

func nonEmptyLines(text []byte) []string {
	var lines []string
	scanner := bufio.NewScanner(bytes.NewReader(text))
	scanner.Buffer(nil, len(text)+1)
	for scanner.Scan() {
		if scanner.Text() != "" {
			lines = append(lines, scanner.Text())
		}
	}
	return lines
}

// difference lists the lines that only one side has, in the notation of diff.
func difference(want, got []string) []string {
	var lines []string
	for _, line := range want {
		if !slices.Contains(got, line) {
			lines = append(lines, fmt.Sprintf("- %s", line))
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			lines = append(lines, fmt.Sprintf("+ %s", line))
		}
	}
	return lines
}
