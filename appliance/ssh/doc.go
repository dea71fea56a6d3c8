// Package ssh reaches guests. It dials with the one host key that pgapp made
// for the machine, keeps one connection a machine, runs commands under any
// account there without a shell in between, and follows long work that runs
// as a systemd unit of the guest.
//
// It never trusts a key on first use: a machine that shows another key gets
// no credentials, and the caller a problem with id guest-host-key.
package ssh
