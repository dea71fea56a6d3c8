// Package program is what the command line and the daemon, two halves of one
// program, have to agree on: which build it is, what serve is asked for, and how
// a daemon tells the client that started it that it is ready. It holds no
// behaviour of either half.
package program
