// Package control is the appliance as its API offers it: it takes wishes
// (bring this cluster up, stop that member), allocates what they need, hands
// them to the runner as operations, and observes what really runs.
package control
