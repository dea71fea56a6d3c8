// Package watch watches the clusters that shall keep themselves: it looks at their
// members, has package ha decide, and begins operations. An event of a provider only
// wakes it; what it does follows from a look.
package watch
