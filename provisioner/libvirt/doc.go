// Package libvirt makes members of virtual machines, through libvirt alone:
// a storage pool with base images, golden images made from them and linked
// clones of these; a network with reserved addresses; domains with an
// identity given by cloud-init. Everything carries the cluster's UUID, and
// what doesn't carry it is left alone.
//
// With the primary on the host, that one member is handed on to the provider
// of local members, at the network's address of the host.
package libvirt
