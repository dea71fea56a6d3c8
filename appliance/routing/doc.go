// Package routing decides where the endpoints of each cluster lead, and has the endpoint
// process hold that. [Of] is the decision: a pure function of the record and of what the
// members were last seen to be. [Router] carries it out.
package routing
