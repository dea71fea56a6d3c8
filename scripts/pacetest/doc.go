// Package pacetest keeps tests with real servers from slowing one another down until their
// deadlines end them. How many fit on a machine at once depends on the machine, and on what
// else it does: a number in a script fits none. So each test asks for room before it starts
// its first server ([Enter]), as make --load-average asks before it starts a job, and a test
// that waits looks no more often than the machine can bear ([Until]).
package pacetest
