//go:build !integration

package cli_test

import "testing"

// runTests runs them as they are: nothing here listens on a fixed address.
func runTests(m *testing.M) int { return m.Run() }
