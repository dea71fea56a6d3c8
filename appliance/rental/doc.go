// Package rental is the movie-rental site over Pagila: browsing, search, renting,
// returning and paying, with one pool for writes and one for reads.
//
// Connections are two connection strings, so a list of members and an endpoint serve
// alike. Writes are repeated until a deadline when a member dies or moves; an id of the
// request, kept in the database, makes a repeat safe. Reads go to standbys. DESIGN.md
// says why.
package rental
