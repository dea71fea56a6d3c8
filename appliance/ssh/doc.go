// Package ssh connects to guests. It accepts only the host key that pgapp made
// for the machine, keeps one connection per machine, runs commands under any
// account of the guest without a shell in between, and follows long work that
// runs as a systemd unit of the guest.
//
// No key is trusted on first use: a machine with another host key receives no
// credentials, and the caller gets a problem with id guest-host-key.
package ssh
