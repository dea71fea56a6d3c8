// Package kernel leads connections to a cluster's endpoints by the kernel's own address
// translation, so that no process stands between a client and its member. It lies over the
// endpoint process, which holds the same state and the ports. Only root can use it.
package kernel
