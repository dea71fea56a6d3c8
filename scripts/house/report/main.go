// Command report prints the figures of a tree: rooms, files and lines, exported
// names, methods a type, arrows that run up, allowed imports that nobody uses.
// Its argument is the tree's root, "." without one. With -concurrent it prints
// the packages that have a goroutine, one a line.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"pgapp/scripts/house/survey"
)

func main() {
	onlyConcurrent := flag.Bool("concurrent", false, "print only the packages that have a goroutine")
	flag.Parse()
	dir := "."
	if flag.NArg() > 0 {
		dir = flag.Arg(0)
	}
	run := report
	if *onlyConcurrent {
		run = concurrent
	}
	var out strings.Builder
	err := run(context.Background(), &out, dir)
	if err == nil {
		_, err = os.Stdout.WriteString(out.String())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func report(ctx context.Context, out *strings.Builder, dir string) error {
	rooms, err := survey.Load(ctx, dir)
	if err != nil {
		return err
	}
	table, err := survey.Table(dir)
	if err != nil {
		return err
	}
	if err := printRooms(out, rooms); err != nil {
		return err
	}
	printTypes(out, rooms)
	printArrows(out, rooms)
	unused := survey.Unused(table, rooms)
	fmt.Fprintf(out, "\nAllowed imports that nobody uses, and rows without a package: %d\n", len(unused))
	for _, u := range unused {
		fmt.Fprintln(out, "  "+u)
	}
	return nil
}

func concurrent(ctx context.Context, out *strings.Builder, dir string) error {
	paths, err := survey.Concurrent(ctx, dir)
	for _, p := range paths {
		fmt.Fprintln(out, p)
	}
	return err
}

func printRooms(out *strings.Builder, rooms []*survey.Room) error {
	fmt.Fprintf(out, "%-28s%8s%8s%12s%12s%10s%9s\n", "room", "files", "lines", "test files", "test lines", "exported", "imports")
	var sum [6]int
	for _, r := range rooms {
		lines, err := r.Lines(r.Files)
		if err != nil {
			return err
		}
		testLines, err := r.Lines(r.TestFiles)
		if err != nil {
			return err
		}
		figures := [6]int{len(r.Files), lines, len(r.TestFiles), testLines, r.Exported(), len(r.Imports)}
		printRow(out, r.Path, figures)
		for i, n := range figures {
			sum[i] += n
		}
	}
	printRow(out, fmt.Sprintf("%d rooms", len(rooms)), sum)
	fmt.Fprintln(out)
	return nil
}

func printRow(out *strings.Builder, name string, n [6]int) {
	fmt.Fprintf(out, "%-28s%8d%8d%12d%12d%10d%9d\n", name, n[0], n[1], n[2], n[3], n[4], n[5])
}

// manyMethods and manyOfInterface are the limits of the house.
const (
	manyMethods     = 40
	manyOfInterface = 8
)

func printTypes(out *strings.Builder, rooms []*survey.Room) {
	var largest survey.Type
	fmt.Fprintf(out, "Types of more than %d methods, interfaces of more than %d:\n", manyMethods, manyOfInterface)
	n := 0
	for _, r := range rooms {
		for _, t := range r.Types() {
			if !t.Interface && t.Methods > largest.Methods {
				largest = t
			}
			if t.Methods > manyMethods || t.Interface && t.Methods > manyOfInterface {
				n++
				fmt.Fprintf(out, "  %3d  %s%s\n", t.Methods, t.Name, kind(t))
			}
		}
	}
	fmt.Fprintf(out, "  %d in all; the largest type is %s with %d methods\n", n, largest.Name, largest.Methods)
}

func kind(t survey.Type) string {
	if t.Interface {
		return " (interface)"
	}
	return ""
}

func printArrows(out *strings.Builder, rooms []*survey.Room) {
	fmt.Fprintf(out, "\nArrows between the files of a room, and those that run up.\n%s\n", survey.ArrowsMeaning)
	all, allUp := 0, 0
	for _, r := range rooms {
		up := 0
		arrows := r.Arrows()
		for _, a := range arrows {
			if a.Up {
				up++
			}
		}
		if len(arrows) > 0 {
			fmt.Fprintf(out, "  %4d up of %4d  %s\n", up, len(arrows), r.Path)
		}
		all += len(arrows)
		allUp += up
	}
	fmt.Fprintf(out, "  %4d up of %4d  in all\n", allUp, all)
}
