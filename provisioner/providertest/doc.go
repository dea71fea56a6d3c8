// Package providertest is the contract test of appliance.Provider: every
// provider passes it, with a real PostgreSQL 17 on real machines.
package providertest
