// Package cloudinit holds the documents from which guests are given their
// identity (cloud-init's NoCloud data source). They are decoded, filled and
// encoded again; nothing is ever pasted into their text.
package cloudinit

import "embed"

// Files holds user-data.yaml, meta-data.yaml and network-config.yaml, and the
// scripts that make a golden image: install.sh, then seal.sh.
//
//go:embed *.yaml *.sh
var Files embed.FS
