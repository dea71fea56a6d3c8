package postgres

import "fmt"

// LSNAfter tells whether position a is after b in the WAL. It is false if one of
// them is not an LSN, such as "".
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
