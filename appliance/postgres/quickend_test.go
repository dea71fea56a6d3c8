package postgres

import (
	"strings"
	"testing"

	"pgapp/appliance"
)

// TestQuickEndOfWAL reads what pg_waldump 17 and od print of a directory's WAL.
func TestQuickEndOfWAL(t *testing.T) {
	t.Parallel()
	const (
		from  = appliance.LSN(0x3032910)
		zero  = "pg_waldump: error: error in WAL record at 0/3032910: invalid record length at 0/3032938: expected at least 24, got 0"
		one   = "000000010000000000000003\n 000000010006d116 0000000003000000"
		spare = "000000010000000000000003 000000010000000000000004\n 000000010006d116 0000000003000000\n 0000000000000000 0000000000000000"
		next  = "000000010000000000000003 000000010000000000000004\n 000000010006d116 0000000003000000\n 000000010006d116 0000000004000000"
		later = "000000010000000000000003 000000010000000000000005\n 000000010006d116 0000000003000000\n 000000010006d116 0000000005000000"
		kept  = "000000010000000000000003 000000010000000000000009\n 000000010006d116 0000000003000000\n 000000010006d116 0000000001000000"
	)
	for _, tt := range []struct {
		name string
		out  string
		end  appliance.LSN
		ok   bool
	}{
		{"zeros after a record", zero + "\n" + one, 0x3032938, true},
		{"a segment that was made in advance", zero + "\n" + spare, 0x3032938, true},
		{"a segment kept for a later use", zero + "\n" + kept, 0x3032938, true},
		{"nothing from there on", "pg_waldump: error: could not find a valid record after 0/3032910\n" + one, from, true},
		{"nothing from there on, and a later segment", "pg_waldump: error: could not find a valid record after 0/3032910\n" + next, 0, false},
		{"a record in the next segment", strings.NewReplacer("0/3032938:", "0/4000050:").Replace(zero) + "\n" + next, 0x4000050, true},
		{"a record that ends with its page", strings.Replace(zero, "0/3032938:", "0/3034018:", 1) + "\n" + one, 0x3034000, true},
		{"a record that ends with its segment", strings.Replace(zero, "0/3032938:", "0/4000028:", 1) + "\n" + next, 0x4000000, true},
		{"a gap before a later segment", zero + "\n" + later, 0, false},
		{"no zeros", strings.Replace(zero, "got 0", "got 7", 1) + "\n" + one, 0, false},
		{"a wrong checksum", "pg_waldump: error: error in WAL record at 0/3032910: incorrect resource manager data checksum in record at 0/3032938\n" + one, 0, false},
		{"a missing segment", `pg_waldump: error: could not locate WAL file "000000010000000000000003"` + "\n" + one, 0, false},
		{"before its beginning", strings.Replace(zero, "0/3032938:", "0/3000100:", 1) + "\n" + one, 0, false},
		{"a header that is missing", zero + "\n000000010000000000000003 000000010000000000000004\n 000000010006d116 0000000003000000", 0, false},
		{"nothing", "", 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			end, ok := parseQuick(tt.out+"\n", from)
			if ok != tt.ok || ok && end != tt.end {
				t.Errorf("got %s, %t; want %s, %t", end, ok, tt.end, tt.ok)
			}
		})
	}
}
