package postgres

import "fmt"

// LSNAfter tells whether a lies behind b in the WAL. One that isn't an LSN,
// such as an empty text, lies behind none.
func LSNAfter(a, b string) bool {
	x, okX := parseLSN(a)
	y, okY := parseLSN(b)
	return okX && okY && x > y
}

func parseLSN(s string) (uint64, bool) {
	var high, low uint32
	if _, err := fmt.Sscanf(s, "%X/%X", &high, &low); err != nil {
		return 0, false
	}
	return uint64(high)<<32 | uint64(low), true
}
