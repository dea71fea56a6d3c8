package endpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// kind is the kind of a client's first packet.
type kind int

const (
	// startup opens a session.
	startup kind = iota
	// negotiation asks for encryption (SSLRequest, GSSENCRequest). The server answers
	// with one byte, and after 'N' the client sends another first packet.
	negotiation
	// cancelRequest asks to cancel the query of another session.
	cancelRequest
	// opaque is TLS without negotiation. Nothing of it can be read.
	opaque
)

// Codes of the packets without a protocol version (PostgreSQL's pqcomm.h).
const (
	codeCancel = 80877102
	codeSSL    = 80877103
	codeGSS    = 80877104
)

const (
	// maxStartup is MAX_STARTUP_PACKET_LENGTH of PostgreSQL's pqcomm.h.
	maxStartup = 10000
	// maxReply limits a server's error that is read to know its SQLSTATE.
	maxReply = 16 << 10
	// tlsHandshake is the first byte of a TLS record with a ClientHello.
	tlsHandshake = 0x16
)

// SQLSTATEs.
const (
	cannotConnectNow   = "57P03"
	tooManyConnections = "53300"
)

var errNoPostgres = errors.New("the client does not speak PostgreSQL's protocol")

// readFirst reads a client's first packet and nothing beyond it. After a negotiation
// that the server refused, it reads the next one.
func readFirst(r io.Reader) (k kind, packet []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:1]); err != nil {
		return 0, nil, fmt.Errorf("reading the first packet: %w", err)
	}
	if head[0] == tlsHandshake {
		return opaque, head[:1:1], nil
	}
	if _, err := io.ReadFull(r, head[1:]); err != nil {
		return 0, nil, fmt.Errorf("reading the first packet: %w", err)
	}
	size, code := binary.BigEndian.Uint32(head[:4]), binary.BigEndian.Uint32(head[4:])
	if size < uint32(len(head)) || size > maxStartup {
		return 0, nil, errNoPostgres
	}
	packet = make([]byte, size)
	copy(packet, head[:])
	if _, err := io.ReadFull(r, packet[len(head):]); err != nil {
		return 0, nil, fmt.Errorf("reading the first packet: %w", err)
	}
	switch code {
	case codeCancel:
		return cancelRequest, packet, nil
	case codeSSL, codeGSS:
		return negotiation, packet, nil
	}
	return startup, packet, nil
}

// fatal is an ErrorResponse that ends the session before it has begun.
func fatal(sqlstate, message string) []byte {
	var b bytes.Buffer
	for _, field := range []string{"SFATAL", "VFATAL", "C" + sqlstate, "M" + message} {
		b.WriteString(field)
		b.WriteByte(0)
	}
	b.WriteByte(0)
	out := binary.BigEndian.AppendUint32([]byte{'E'}, uint32(4+b.Len())) //nolint:gosec // a short text
	return append(out, b.Bytes()...)
}

// sqlstateOf returns the SQLSTATE of an ErrorResponse, or "" if reply begins with
// another message. more is set if the message is not complete yet.
func sqlstateOf(reply []byte) (sqlstate string, more bool) {
	const head = 5
	if len(reply) > 0 && reply[0] != 'E' {
		return "", false
	}
	if len(reply) < head {
		return "", true
	}
	size := binary.BigEndian.Uint32(reply[1:head])
	if size < 4 || size > maxReply {
		return "", false
	}
	if uint32(len(reply)) < size+1 { //nolint:gosec // at most maxReply and a header
		return "", true
	}
	for field := range bytes.SplitSeq(reply[head:size+1], []byte{0}) {
		if len(field) > 0 && field[0] == 'C' {
			return string(field[1:]), false
		}
	}
	return "", false
}
