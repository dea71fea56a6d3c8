package rpc

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"github.com/digitalocean/go-libvirt/socket"
)

const (
	// A packet is its length, this header and its payload; the length counts
	// all three (libvirt's src/rpc/virnetprotocol.x).
	lengthSize = 4
	headerSize = 6 * 4
	// maxPacket is above VIR_NET_MESSAGE_MAX, 32 MiB.
	maxPacket = 64 << 20
)

// ordered reads packets and returns them in the order that go-libvirt expects.
// libvirt's daemon sends a call's reply from a worker and the call's stream from
// the main loop, so a stream's first packets may arrive before the reply.
// go-libvirt takes the first packet as the reply, whatever its type, and the reply
// as the stream's end. Bytes are lost, and the stream's next packet blocks
// go-libvirt's reader for good, even if the connection is closed. Therefore
// ordered holds a stream's packets until the reply arrives, and drops packets
// after the stream's end.
//
// ordered requires one call at a time and ascending serials on the connection.
type ordered struct {
	net.Conn
	r       *bufio.Reader
	ready   []byte
	early   []byte // packets of a stream whose reply hasn't arrived
	replied int32  // the serial of the latest reply
	ended   int32  // the serial of the latest stream that ended
}

func inOrder(c net.Conn) *ordered { return &ordered{Conn: c, r: bufio.NewReader(c)} }

func (o *ordered) Read(p []byte) (int, error) {
	for len(o.ready) == 0 {
		if err := o.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, o.ready)
	o.ready = o.ready[n:]
	return n, nil
}

// next reads one packet.
func (o *ordered) next() error {
	head := make([]byte, lengthSize+headerSize)
	if _, err := io.ReadFull(o.r, head); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head)
	if size < lengthSize+headerSize || size > maxPacket {
		return fmt.Errorf("libvirt sent a packet of %d bytes: %w", size, io.ErrUnexpectedEOF)
	}
	packet := append(head, make([]byte, int(size)-len(head))...)
	if _, err := io.ReadFull(o.r, packet[len(head):]); err != nil {
		return err
	}
	field := func(n int) uint32 { return binary.BigEndian.Uint32(packet[lengthSize+4*n:]) }
	kind, serial, status := field(3), int32(field(4)), field(5)
	switch {
	case kind == socket.Reply:
		if status == socket.StatusError { // a failed call has no stream
			o.early, o.ended = nil, serial
		}
		o.ready = append(packet, o.early...)
		o.early, o.replied = nil, serial
	case kind != socket.Stream:
		o.ready = packet
	case serial <= o.ended:
	default:
		// A stream ends with a status, or with an empty packet.
		if status != socket.StatusContinue || size == lengthSize+headerSize {
			o.ended = serial
		}
		if serial > o.replied {
			o.early = append(o.early, packet...)
		} else {
			o.ready = packet
		}
	}
	return nil
}
