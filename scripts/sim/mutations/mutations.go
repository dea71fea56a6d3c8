// Package mutations breaks the core of a change of primary on purpose, and has the
// simulator find each break.
package mutations

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pgapp/scripts/build/overlay"
)

// Mutation is one text in a file of package ha, or of package routing, and what breaks it.
type Mutation struct {
	Name, File, Old, New string
	// Seed is the first seed that finds the mutation.
	Seed uint64
}

const (
	core    = "appliance/ha"
	router  = "appliance/routing"
	kernel  = "appliance/endpoint/kernel"
	worlds  = "scripts/sim"
	program = "scripts/sim/mutants"
)

// core is the package that the mutation breaks.
func (m Mutation) core() string {
	switch {
	case m.File == "lead.go":
		return kernel
	case m.world() == "routeworld":
		return router
	}
	return core
}

// world is where the mutation is played: beside the watch, with endpoints, or in changes of
// primary alone.
func (m Mutation) world() string {
	if slices.Contains([]string{"route.go", "memory.go", "settle.go", "apply.go", "turn.go", "kernel.go", "lead.go"}, m.File) {
		return "routeworld"
	}
	if slices.Contains([]string{"decide.go", "verdict.go", "others.go", "restrain.go", "hold.go"}, m.File) {
		return "watchworld"
	}
	return "world"
}

// Find has the simulator look for each mutation in 10,000 seeds.
func Find(ctx context.Context, out io.Writer) error {
	all := slices.Concat(All(), Watched(), Routed())
	mutants, err := Build(ctx, ".", all)
	if err != nil {
		return err
	}
	defer mutants.Remove()
	var missed []string
	for i, m := range all {
		seed, err := mutants.Play(ctx, i, 1, 10_000)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(out, "%-62s %-11s seed %d (listed %d)\n", m.Name, m.File, seed, m.Seed)
		if seed == 0 {
			missed = append(missed, m.Name)
		}
	}
	if len(missed) > 0 {
		return fmt.Errorf("not found: %s", strings.Join(missed, "; "))
	}
	return nil
}

// Mutants is a program that plays mutations.
type Mutants struct {
	dir string
	all []Mutation
}

// Build builds one program of all the mutations: each is a package ha of its own, with a
// world of its own. The tree at root stays as it is.
func Build(ctx context.Context, root string, all []Mutation) (Mutants, error) {
	files := map[string]string{}
	var imports, games strings.Builder
	for i, m := range all {
		if err := m.copyTo(root, fmt.Sprintf("mutant%d", i), files); err != nil {
			return Mutants{}, fmt.Errorf("mutation %q: %w", m.Name, err)
		}
		_, _ = fmt.Fprintf(&imports, "\tw%d %q\n", i, path.Join("pgapp", worlds, m.world(), fmt.Sprintf("mutant%d", i)))
		_, _ = fmt.Fprintf(&games, "\t\tfunc(seed uint64) error { _, err := w%d.Run(seed, io.Discard); return err },\n", i)
	}
	files[program+"/main.go"] = fmt.Sprintf(mainText, imports.String(), games.String())
	dir, err := os.MkdirTemp("", "pgapp-mutants-*")
	if err != nil {
		return Mutants{}, err
	}
	out := Mutants{dir, all}
	if err := overlay.Build(ctx, root, "./"+program, out.binary(), files); err != nil {
		out.Remove()
		return Mutants{}, err
	}
	return out, nil
}

// mainText is the program: it plays seeds of one mutation until one fails.
const mainText = `package main

import (
	"fmt"
	"io"
	"os"
	"strconv"

%s)

func main() {
	games := []func(seed uint64) error{
%s	}
	n := make([]uint64, 3)
	for i := range n {
		n[i], _ = strconv.ParseUint(os.Args[1+i], 10, 64)
	}
	for seed := n[1]; seed < n[1]+n[2]; seed++ {
		if err := games[n[0]](seed); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}
`

// copyTo adds copies of the core with the mutation, and of its world, in directories of that
// name.
func (m Mutation) copyTo(root, name string, files map[string]string) error {
	core, alias := m.core(), path.Base(m.core())+" "
	mutant, err := overlay.Edit{File: path.Join(core, m.File), Old: m.Old, New: m.New}.Apply(root)
	if err != nil {
		return err
	}
	own := strconv.Quote(path.Join("pgapp", core, name))
	for _, dir := range []string{core, path.Join(worlds, m.world())} {
		sources, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil {
			return err
		}
		for _, file := range sources {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file) //nolint:gosec // of our own tree
			if err != nil {
				return err
			}
			files[path.Join(dir, name, filepath.Base(file))] = strings.ReplaceAll(string(text), strconv.Quote(path.Join("pgapp", core)), alias+own)
		}
	}
	files[path.Join(core, name, m.File)] = mutant
	return nil
}

func (m Mutants) binary() string { return filepath.Join(m.dir, "mutants") }

// Remove removes the program.
func (m Mutants) Remove() { _ = os.RemoveAll(m.dir) }

// Play plays the seeds of the i-th mutation and returns the first that fails, 0 if none
// does.
func (m Mutants) Play(ctx context.Context, i int, first, seeds uint64) (uint64, error) {
	play := exec.CommandContext(ctx, m.binary(), strconv.Itoa(i), strconv.FormatUint(first, 10), strconv.FormatUint(seeds, 10)) //nolint:gosec // our own binary
	said, err := play.CombinedOutput()
	var exit *exec.ExitError
	if err == nil || !errors.As(err, &exit) {
		return 0, err
	}
	found := regexp.MustCompile(`seed (\d+):`).FindSubmatch(said)
	if found == nil {
		return 0, fmt.Errorf("playing mutation %q: %w: %s", m.all[i].Name, err, said)
	}
	return strconv.ParseUint(string(found[1]), 10, 64)
}
