// Package image knows the disk images that guests are made from, and stores
// fetched images by digest. A stored image is complete.
package image
