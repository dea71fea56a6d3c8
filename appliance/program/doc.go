// Package program is what the command line and the daemon, two halves of one
// program, have to agree on: which build it is, what serve is asked for, and how
// a daemon reports to the client that started it. It holds no
// behaviour of either half.
package program
