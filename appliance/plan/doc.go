// Package plan makes the plan of each operation: the steps that create, change,
// start, stop and remove a cluster, and the order of these steps. Each step works on
// a provider's machines or on PostgreSQL there. Package op runs the plan.
package plan
