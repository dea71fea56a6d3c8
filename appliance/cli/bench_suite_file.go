package cli

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"pgapp/appliance"
	"pgapp/appliance/bench/suitefile"
)

// check refuses flags that exclude each other.
func (f *benchSuiteFlags) check() error {
	for _, x := range []struct {
		one, other string
		both       bool
	}{
		{"--file", "--quick", f.path != "" && f.quick},
		{"--print", "--file", f.print && f.path != ""},
		{"--print", "--resume", f.print && f.resume},
	} {
		if x.both {
			return appliance.NewProblem(appliance.ErrUsage, "%s and %s exclude each other", x.one, x.other).WithHint("see 'pgapp bench suite --help'")
		}
	}
	return nil
}

// suiteFile is what is to be measured: the user's file, or pgapp's own.
func (f *benchSuiteFlags) suiteFile(in io.Reader) (suitefile.File, error) {
	text, where := suitefile.Own(f.quick), "pgapp's own file"
	if f.path != "" {
		var err error
		if text, err = readSuiteFile(f.path, in); err != nil {
			return suitefile.File{}, err
		}
		where = f.path
	}
	file, err := suitefile.Parse(text)
	if err != nil {
		return file, fmt.Errorf("reading %s: %w", where, err)
	}
	if f.given["seed"] {
		file.Seed = f.seed
	}
	return file, nil
}

// readSuiteFile reads no more of a file than one may hold, for it may have no end. - is in.
func readSuiteFile(path string, in io.Reader) ([]byte, error) {
	if path != "-" {
		f, err := os.Open(path) // #nosec G304 -- the user's own choice
		if err != nil {
			return nil, appliance.NewProblem(appliance.ErrUsage, "reading the suite's file: %w", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, suitefile.MaxSize+1))
	if err != nil {
		return nil, appliance.NewProblem(appliance.ErrUsage, "reading the suite's file: %w", err)
	}
	return text, nil
}

// command is the command line that repeats the suite.
func (f *benchSuiteFlags) command(cluster string, seed uint64) string {
	what := " --quick=" + strconv.FormatBool(f.quick)
	if f.path != "" {
		what = " --file " + shellWord(f.path)
	}
	return "pgapp bench suite --cluster " + cluster + what + " --seed " + strconv.FormatUint(seed, 10)
}
