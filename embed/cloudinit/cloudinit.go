// Package cloudinit holds the documents that give guests their identity
// (cloud-init's NoCloud data source). They are decoded, filled and encoded again;
// no value is ever inserted into their text.
package cloudinit

import "embed"

// Files holds user-data.yaml, meta-data.yaml and network-config.yaml, and the
// scripts of a golden image: install.sh, then seal.sh.
//
//go:embed *.yaml *.sh
var Files embed.FS
