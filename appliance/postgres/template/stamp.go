package template

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"time"
)

// The identifier is in two places: at the start of pg_control (ControlFileData
// in PostgreSQL's pg_control.h, followed by a CRC-32C of all preceding bytes),
// and in the long page header of each WAL segment (XLogLongPageHeaderData in
// xlog_internal.h).
const (
	controlFile    = "global/pg_control"
	walDir         = "pg_wal/"
	identifierSize = 8
	// controlMax is PG_CONTROL_MAX_SAFE_SIZE: the struct fits in one sector.
	controlMax = 512
	// walIdentifierAt is xlp_sysid's offset, after the 24 bytes of the short header.
	walIdentifierAt = 24
	// walLongHeader is XLP_LONG_HEADER in xlp_info.
	walLongHeader = 0x0002
	walInfoAt     = 2
)

// NewIdentifier makes a system identifier as BootStrapXLOG does:
// the time in seconds, then microseconds, then the process id.
func NewIdentifier(now time.Time) uint64 {
	return uint64(now.Unix())<<32 | uint64(now.Nanosecond()/1000)<<12 | uint64(os.Getpid())&0xFFF
}

// stampControl sets the identifier in pg_control's bytes.
func stampControl(b []byte, id uint64) error {
	at, err := crcOffset(b)
	if err != nil {
		return err
	}
	binary.LittleEndian.PutUint64(b, id)
	binary.LittleEndian.PutUint32(b[at:], castagnoli(b[:at]))
	return nil
}

// crcOffset finds the checksum, whose place depends on the server's version: it
// is the only place whose value is the checksum of the preceding bytes.
func crcOffset(b []byte) (int, error) {
	found := 0
	for at := identifierSize; at+4 <= min(len(b), controlMax); at += 4 {
		if castagnoli(b[:at]) == binary.LittleEndian.Uint32(b[at:]) {
			if found != 0 {
				return 0, errors.New("pg_control: two places look like its checksum")
			}
			found = at
		}
	}
	if found == 0 {
		return 0, errors.New("pg_control: its checksum was not found")
	}
	return found, nil
}

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// stampWAL sets the identifier in a WAL segment's first page.
func stampWAL(b []byte, id uint64) error {
	if len(b) < walIdentifierAt+identifierSize || binary.LittleEndian.Uint16(b[walInfoAt:])&walLongHeader == 0 {
		return errors.New("the WAL segment has no long header")
	}
	binary.LittleEndian.PutUint64(b[walIdentifierAt:], id)
	return nil
}
