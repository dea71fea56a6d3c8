// Package image knows the disk images that guests are made from, and keeps
// those that were fetched: by their digest, complete or not at all.
package image
