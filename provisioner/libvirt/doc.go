// Package libvirt is the provider whose members are virtual machines. Through
// libvirt it makes a storage pool with base images, golden images built from
// them and linked clones of those; a network with reserved addresses; and
// domains that get their identity from cloud-init. Every object carries the
// cluster's UUID; objects without it stay untouched.
//
// A primary on the host is a member of provider local, at the host's address in
// the network.
package libvirt
