// Package observe looks at the members of a cluster. It has one type for the result
// of a look, and decides what a look asks and through which connection.
//
//   - A status ([Observer.Members]) opens a new session for each look. A kept
//     session works even if the member accepts no new ones. A status uses a kept
//     session only if the server has no connection left.
//   - An inspection ([Observer.Inspect]) opens its own session and closes it. A kept
//     session may belong to a server that has been replaced.
//   - A verification ([Observer.Verify]) opens its own sessions, and keeps those to
//     the maintenance databases.
//   - The steps of an operation share kept sessions, and retry if one has ended.
package observe
