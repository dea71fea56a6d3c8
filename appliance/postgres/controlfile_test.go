package postgres

import (
	"encoding/binary"
	"hash/crc32"
	"testing"
)

// controlFileOf makes a pg_control with the version, the state and a sound checksum.
func controlFileOf(version, state uint32) []byte {
	b := make([]byte, 8192)
	binary.LittleEndian.PutUint64(b, 7713646353317192623)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[16:], state)
	binary.LittleEndian.PutUint32(b[288:], crc32.Checksum(b[:288], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func TestControlFileTellsCleanShutdown(t *testing.T) {
	t.Parallel()
	// In the order of DBState: starting, shut down, shut down in recovery, shutting down, in
	// crash recovery, in archive recovery, in production.
	for state, closed := range []bool{false, true, true, false, false, false, false} {
		got, err := parseControlFile(controlFileOf(1700, uint32(state))) //nolint:gosec // small
		if err != nil || got.Closed != closed || got.SystemIdentifier != "7713646353317192623" {
			t.Errorf("state %d: got %+v, %v; want closed %t", state, got, err, closed)
		}
	}
}

func TestControlFileRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	torn := controlFileOf(1700, 1)
	torn[100]++
	for name, b := range map[string][]byte{
		"short": controlFileOf(1700, 1)[:200], "empty": nil, "another version": controlFileOf(1800, 1), "torn": torn,
	} {
		if got, err := parseControlFile(b); err == nil {
			t.Errorf("%s: got %+v and no error", name, got)
		}
	}
}
