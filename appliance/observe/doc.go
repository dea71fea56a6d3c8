// Package observe looks at the members of a cluster: one type for what a look
// brought, and one place that decides what is asked and by which connection.
//
//   - A status ([Observer.Members]) opens a new session at each look. A kept one
//     would call a member ready that lets nobody in any more; it serves only
//     where the server has no connection left.
//   - An inspection ([Observer.Inspect]) opens a session of its own and closes it:
//     a kept one may be of a server that has been replaced.
//   - A verification ([Observer.Verify]) opens sessions of its own, and leaves
//     those to maintenance databases to be kept.
//   - The steps of an operation share kept sessions, and retry where one has ended.
package observe
