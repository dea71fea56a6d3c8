package rpc

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/digitalocean/go-libvirt/socket"
)

// wire writes packets as "reply 7 ok", "stream 7 continue text" or "message 0 ok".
func wire(t *testing.T, packets ...string) []byte {
	t.Helper()
	kinds := map[string]uint32{"reply": socket.Reply, "message": socket.Message, "stream": socket.Stream}
	states := map[string]uint32{"ok": socket.StatusOK, "error": socket.StatusError, "continue": socket.StatusContinue}
	var out []byte
	for _, p := range packets {
		f := append(strings.Fields(p), "")
		var serial uint32
		if _, err := fmt.Sscan(f[1], &serial); err != nil {
			t.Fatal(err)
		}
		payload := f[3]
		for _, n := range []uint32{uint32(lengthSize + headerSize + len(payload)), 1, 1, 209, kinds[f[0]], serial, states[f[2]]} {
			out = binary.BigEndian.AppendUint32(out, n)
		}
		out = append(out, payload...)
	}
	return out
}

func TestOrdered(t *testing.T) {
	for _, c := range []struct {
		name      string
		in, wants []string
	}{
		{
			"as libvirt says",
			[]string{"reply 7 ok", "stream 7 continue data", "stream 7 continue", "reply 8 ok"},
			[]string{"reply 7 ok", "stream 7 continue data", "stream 7 continue", "reply 8 ok"},
		},
		{
			"a stream before its reply",
			[]string{"stream 7 continue data", "reply 7 ok", "stream 7 continue more", "stream 7 continue"},
			[]string{"reply 7 ok", "stream 7 continue data", "stream 7 continue more", "stream 7 continue"},
		},
		{
			"a whole stream before its reply",
			[]string{"stream 7 continue data", "stream 7 continue", "reply 7 ok", "reply 8 ok"},
			[]string{"reply 7 ok", "stream 7 continue data", "stream 7 continue", "reply 8 ok"},
		},
		{
			"after the end",
			[]string{"reply 7 ok", "stream 7 continue", "stream 7 continue", "stream 7 error x", "reply 8 ok"},
			[]string{"reply 7 ok", "stream 7 continue", "reply 8 ok"},
		},
		{
			"after an error in the stream",
			[]string{"reply 7 ok", "stream 7 error x", "stream 7 continue", "reply 8 ok"},
			[]string{"reply 7 ok", "stream 7 error x", "reply 8 ok"},
		},
		{
			"beside a refused call",
			[]string{"stream 7 continue data", "reply 7 error x", "stream 7 continue", "reply 8 ok"},
			[]string{"reply 7 error x", "reply 8 ok"},
		},
		{
			"an event in between",
			[]string{"stream 7 continue data", "message 0 ok", "reply 7 ok", "stream 7 continue"},
			[]string{"message 0 ok", "reply 7 ok", "stream 7 continue data", "stream 7 continue"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readAll(t, wire(t, c.in...))
			if err != nil || !slices.Equal(got, wire(t, c.wants...)) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestOrderedRefusesInvalidPacket(t *testing.T) {
	for _, bad := range [][]byte{
		binary.BigEndian.AppendUint32(nil, 3),
		append(binary.BigEndian.AppendUint32(nil, maxPacket+1), make([]byte, headerSize)...),
		wire(t, "reply 7 ok payload")[:lengthSize+headerSize+2],
	} {
		if got, err := readAll(t, bad); err == nil {
			t.Errorf("%q passed as %q", bad, got)
		}
	}
}

// readAll reads what the daemon sent, in pieces as small as they come.
func readAll(t *testing.T, sent []byte) ([]byte, error) {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = ours.Close() })
	go func() {
		for piece := range slices.Chunk(sent, 5) {
			_, _ = theirs.Write(piece)
		}
		_ = theirs.Close()
	}()
	return io.ReadAll(inOrder(ours))
}
