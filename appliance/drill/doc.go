// Package drill proves what a cluster promises while its primary is moved, killed or
// replaced. Writers note which of their rows were acknowledged, by whom and when; the
// judgement compares that with the rows that the members have in the end.
package drill
