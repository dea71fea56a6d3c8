// Package local is the provider whose members are processes on this machine:
// one data directory each, at loopback addresses of their own, in a cgroup of
// their own where one can be had. It needs Linux.
package local
