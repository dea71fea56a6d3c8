package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"pgapp/api"
	"pgapp/appliance"
)

// imageCommands manage the images of virtual machines.
type imageCommands struct{ *app }

func (a imageCommands) imageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "image", Short: "Manage the images of virtual machines",
		Long: `The catalogue names images of the distributions, each by a dated address and its
digest. 'pgapp up' fetches what it needs by itself; these commands fetch ahead,
bring in other images, and give the space back.

What was made of an image in libvirt's pool "pgapp" stays there: a further
cluster of the same image starts from it. 'pgapp image prune' removes it.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.imageList(), a.imagePull(), a.imageImport(), a.imageRemove(), a.imagePrune())
	return cmd
}

// oneArg wants exactly one argument.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return appliance.NewProblem(appliance.ErrUsage, "%s takes %s", cmd.CommandPath(), what).WithHint("see '%s --help'", cmd.CommandPath())
		}
		return nil
	}
}

func (a imageCommands) imageList() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the images of the catalogue and the kept ones", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			list, err := c.Images(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(list, func() error { return a.imageTable(list) })
		},
	}
}

func (a imageCommands) imageTable(list []api.ImageEntry) error {
	t := newTable("name", "here", "size", "modified", "digest")
	for _, i := range list {
		size, modified := "", ""
		if i.ModifiedAt != nil {
			size, modified = humanize.IBytes(uint64(max(i.Bytes, 0))), i.ModifiedAt.Local().Format(time.DateTime)
		}
		t.AppendRow([]any{clean(i.Name), i.Kept, size, modified, shorten(i.Digest)})
	}
	return a.renderTable(t)
}

// shorten cuts a digest to the part that identifies it in a table.
func shorten(digest string) string {
	const enough = len("sha256:") + 16
	if len(digest) <= enough {
		return digest
	}
	return digest[:enough] + "…"
}

func (a imageCommands) imagePull() *cobra.Command {
	return &cobra.Command{
		Use: "pull NAME", Short: "Fetch an image of the catalogue",
		Long: `Fetch an image of the catalogue and check its digest. A repeat goes on where a
transfer was cut off, and does nothing where the image is kept.`,
		Args: oneArg("one name of the catalogue"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.keepImage(cmd.Context(), api.ImageRequest{Name: args[0]})
		},
	}
}

func (a imageCommands) imageImport() *cobra.Command {
	var name, digest string
	cmd := &cobra.Command{
		Use: "import FILE|URL", Short: "Keep an image from a file or a URL under a name",
		Long: `Copy an image in qcow2 format from a file, or fetch it from an address, and keep
it under a name that 'pgapp up --image' takes. The digest is checked where it is
given, and has to be given for an address.`,
		Example: `  pgapp image import debian-13-custom.qcow2
  pgapp image import https://example.org/site.qcow2 --name site --digest sha256:HEX
  pgapp up --provider libvirt --image site`,
		Args: oneArg("one file or address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			source := args[0]
			if name == "" {
				name = strings.ToLower(strings.TrimSuffix(filepath.Base(source), filepath.Ext(source)))
			}
			if !strings.HasPrefix(source, "http://") && !strings.HasPrefix(source, "https://") {
				var err error
				if source, err = filepath.Abs(source); err != nil {
					return appliance.NewProblem(appliance.ErrUsage, "resolving %q: %w", args[0], err)
				}
			}
			return a.keepImage(cmd.Context(), api.ImageRequest{Name: name, Source: source, Digest: digest})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the kept image (default: the file's name without its extension)")
	cmd.Flags().StringVar(&digest, "digest", "", "sha256:HEX or sha512:HEX, as published")
	return cmd
}

func (a imageCommands) keepImage(ctx context.Context, req api.ImageRequest) error {
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	p := a.newProgress()
	e, err := c.KeepImage(ctx, req, func(r appliance.Progress) {
		line := r.Detail
		if r.BytesTotal > 0 {
			line += " " + bar(r)
		}
		p.rewrite(line)
	})
	p.erase()
	if err != nil {
		return err
	}
	return a.print(e, func() error { return a.imageTable([]api.ImageEntry{e}) })
}

func (a imageCommands) imageRemove() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME|DIGEST", Aliases: []string{"remove"}, Short: "Remove a kept image",
		Long: `Remove a kept image, or an incomplete one. An image with several
names stays while one of them does; by its digest it goes with all of them.`,
		Args: oneArg("one name or digest"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			if err := c.RemoveImage(cmd.Context(), args[0]); err != nil {
				return err
			}
			a.note("image %s is removed", args[0])
			return nil
		},
	}
}

func (a imageCommands) imagePrune() *cobra.Command {
	return &cobra.Command{
		Use: "prune", Short: "Remove unused images from libvirt's pool",
		Long: `Remove from libvirt's pool "pgapp" the base and golden images that no machine
uses, whichever home they were made from: what older images left, and what is
kept for a cluster to come, whose golden image is then made anew. It is refused
while an operation runs here; let none run in another home either. The images
that 'pgapp image ls' shows stay.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			p, err := c.PruneImages(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(p, func() error { return a.pruned(p) })
		},
	}
}

func (a imageCommands) pruned(p api.PrunedImages) error {
	var b strings.Builder
	var total int64
	for _, i := range p.Removed {
		fmt.Fprintf(&b, "removed %s\n", clean(i.Name))
		total += i.Bytes
	}
	fmt.Fprintf(&b, "%s of space came free\n", humanize.IBytes(uint64(max(total, 0))))
	_, err := io.WriteString(a.Out, b.String())
	return err
}
