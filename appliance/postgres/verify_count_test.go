package postgres

import "testing"

func TestShownBySnapshot(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"7:9:":                             "(x < 3 OR (x - 9 + 4294967296) % 4294967296 >= 2147483648)",
		"7:9:7,8":                          "(x < 3 OR (x - 9 + 4294967296) % 4294967296 >= 2147483648) AND x NOT IN (7, 8)",
		"4294967299:4294967301:4294967300": "(x < 3 OR (x - 5 + 4294967296) % 4294967296 >= 2147483648) AND x NOT IN (4)",
	} {
		if got, err := shownBy(in); err != nil || got != want {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "1", "1:x:", "1:2:y"} {
		if got, err := shownBy(bad); err == nil {
			t.Errorf("%q: %s", bad, got)
		}
	}
}
