// Package daemon serves one home: it is the composition root, the only place
// that knows every room and puts them together. It opens the state, the API's
// listeners and the providers, runs the loops that live as long as the state is
// open, and starts all of that anew when the state is replaced. Its DESIGN.md says
// why.
//
// It also holds what the command line does without a daemon, since that needs
// the same rooms: the host's checks, and the check of a file of the state.
package daemon
