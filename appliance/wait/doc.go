// Package wait is how goroutines wait: for a condition ([Until]), for their turn
// ([Turns]), and for a result that others want too ([Group]). Every wait ends
// with its context.
package wait
