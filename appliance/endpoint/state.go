package endpoint

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"pgapp/appliance"
	"pgapp/appliance/durable"
)

const (
	// slotSize is the size of one of the state file's two slots.
	slotSize = 256 << 10
	slots    = 2
	// slotHead is the length and checksum before a slot's JSON.
	slotHead = 8
)

// stateFile keeps the last state. The file has its full size from the beginning and two
// slots that are written in turn: a kill in the middle of a write leaves the state
// before, and a full disk does not keep a state from being written.
type stateFile struct {
	f *os.File
	// next is the slot to write.
	next int
}

// openState opens or makes the home's state file and returns the state in it. A file
// without a readable state yields the state 0.
func openState(home string) (s *stateFile, routes appliance.Routes, err error) {
	path := filepath.Join(home, StateName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, routes, fmt.Errorf("opening the endpoints' state: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	s = &stateFile{f: f}
	st, err := f.Stat()
	if err != nil {
		return nil, routes, fmt.Errorf("looking at the endpoints' state: %w", err)
	}
	if st.Size() < slots*slotSize {
		if err := s.reserve(home, st.Size()); err != nil {
			return nil, routes, err
		}
	}
	for i := range slots {
		r, err := s.read(i)
		if err != nil {
			return nil, routes, err
		}
		if r != nil && r.Number >= routes.Number {
			routes, s.next = *r, (i+1)%slots
		}
	}
	return s, routes, nil
}

// reserve writes zeros up to the file's full size.
func (s *stateFile) reserve(home string, size int64) error {
	_, err := s.f.WriteAt(make([]byte, slots*slotSize-size), size)
	if err == nil {
		err = s.f.Sync()
	}
	if err == nil {
		err = durable.SyncDir(home)
	}
	if err != nil {
		return fmt.Errorf("making the endpoints' state: %w", err)
	}
	return nil
}

// read returns the state in the slot, or nil if it holds none.
func (s *stateFile) read(slot int) (*appliance.Routes, error) {
	buf := make([]byte, slotSize)
	if _, err := s.f.ReadAt(buf, int64(slot)*slotSize); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the endpoints' state: %w", err)
	}
	size := binary.BigEndian.Uint32(buf)
	if size == 0 || size > slotSize-slotHead {
		return nil, nil // an empty slot
	}
	body := buf[slotHead : slotHead+size]
	var r appliance.Routes
	if crc32.ChecksumIEEE(body) != binary.BigEndian.Uint32(buf[4:]) || json.Unmarshal(body, &r) != nil {
		return nil, nil //nolint:nilerr // a torn write: the other slot has the state before
	}
	return &r, nil
}

// write puts the state on disk, beside the one before.
func (s *stateFile) write(r appliance.Routes) error {
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding the endpoints' state: %w", err)
	}
	if len(body) > slotSize-slotHead {
		return appliance.NewProblem(appliance.ErrTooLarge, "the endpoints' state has %d bytes; at most %d fit", len(body), slotSize-slotHead)
	}
	buf := binary.BigEndian.AppendUint32(nil, uint32(len(body))) //nolint:gosec // checked above
	buf = binary.BigEndian.AppendUint32(buf, crc32.ChecksumIEEE(body))
	if _, err := s.f.WriteAt(append(buf, body...), int64(s.next)*slotSize); err != nil {
		return fmt.Errorf("writing the endpoints' state: %w", err)
	}
	if err := s.f.Sync(); err != nil {
		return fmt.Errorf("syncing the endpoints' state: %w", err)
	}
	s.next = (s.next + 1) % slots
	return nil
}
