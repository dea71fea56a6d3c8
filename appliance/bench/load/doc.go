// Package load drives the movie-rental site with a load and measures it.
//
// A closed loop has clients that ask, wait for the answer and think. An open loop has
// requests that arrive at a rate, whatever the site does: a request's time is counted from
// when it was to begin, so that a stall is in the time of each request that it kept from
// beginning.
package load
