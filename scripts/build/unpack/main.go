// Command unpack unpacks the PostgreSQL tree of scripts/build/pgtree below a
// directory, and prints the directory of its programs. The tests use it.
package main

import (
	"context"
	"fmt"
	"os"

	"pgapp/appliance/postgres/tree"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: unpack DIR")
		os.Exit(2)
	}
	bin, _, err := tree.Unpack(context.Background(), os.DirFS("embed/pgtree/tree"), os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "unpack:", err)
		os.Exit(1)
	}
	fmt.Println(bin)
}
