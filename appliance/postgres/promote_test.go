package postgres

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgapp/appliance"
)

// TestHides has segments that are complete as far as the later timeline's beginning, and ones
// that end before, with zeros or older WAL after that.
func TestHides(t *testing.T) {
	t.Parallel()
	const segment = appliance.LSN(0x3000000)
	const begin = segment + 20*walPage + 1000
	// wal has valid pages as far as the end.
	wal := func(from, end appliance.LSN, rest byte) []byte {
		data := bytes.Repeat([]byte{rest}, 64*walPage)
		for at := from; at < from+end; at += walPage {
			page := data[at-from:][:min(walPage, from+end-at)]
			for i := range page {
				page[i] = byte(int(at)/walPage + i)
			}
			if len(page) >= walPageHeader {
				binary.NativeEndian.PutUint64(page[8:], uint64(at))
			}
		}
		return data
	}
	whole := wal(segment, begin-segment, 0)
	older := func(end appliance.LSN) []byte { // a recycled file
		data := wal(0x1000000, 64*walPage, 0)
		copy(data, whole[:end])
		return data
	}
	for name, tt := range map[string]struct {
		later, before []byte
		want          bool
	}{
		"both whole":                             {wal(segment, 50*walPage, 0), whole, false},
		"begun, zeros":                           {wal(segment, 16*walPage, 0), whole, true},
		"begun, older WAL":                       {older(16 * walPage), whole, true},
		"empty":                                  {make([]byte, 64*walPage), whole, true},
		"begun as far as the last page":          {older(20 * walPage), whole, true},
		"a page in the middle is damaged":        {append(append(wal(segment, 5*walPage, 0)[:5*walPage], make([]byte, walPage)...), wal(segment, 50*walPage, 0)[6*walPage:]...), whole, false},
		"the one before is short":                {wal(segment, 50*walPage, 0), wal(segment, 16*walPage, 0), false},
		"the one before ends inside of a page":   {wal(segment, 50*walPage, 0), wal(segment, 16*walPage+500, 0), false},
		"the one before is short, with old WAL":  {wal(segment, 50*walPage, 0), older(10 * walPage), false},
		"both end at the same page":              {wal(segment, 16*walPage, 0), wal(segment, 16*walPage, 7), false},
		"a file that is too short to be segment": {nil, whole, false},
	} {
		if got := hides(tt.later, tt.before, segment, begin); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
