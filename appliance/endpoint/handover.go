package endpoint

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"pgapp/appliance"
)

// maxRights is SCM_MAX_FD of the kernel.
const maxRights = 253

// estate is what a process hands over. Descriptors come with it: the lock's, then one
// for each address.
type estate struct {
	Build     string           `json:"build"`
	Routes    appliance.Routes `json:"routes"`
	Addresses []string         `json:"addresses"`
}

// handOver gives the lock and the listening sockets to the process at the other end.
// When that process has taken them, this one accepts no more connections and goes on
// with those that it has, until they end or the other process does.
func (k *control) handOver(conn *net.UnixConn, r *bufio.Reader) {
	k.s.applying.Lock()
	err := k.giveEstate(conn)
	var req request
	if err == nil {
		err = readMessage(r, &req)
	}
	if err != nil || req.Verb != verbTaken {
		k.s.applying.Unlock()
		k.s.log.Error("handing over", "err", err)
		if !k.reachable() {
			// The other process has ended at the control socket: nobody could tell this one
			// any more which connections have to be cut.
			k.s.endWork(errDrained)
		}
		return
	}
	k.s.retire()
	_ = k.listener.Close()
	_ = k.lock.Close()
	k.s.applying.Unlock()
	if writeMessage(conn, answer{Status: k.s.status()}) != nil {
		k.s.endWork(errDrained)
		return
	}
	k.s.log.Info("handed over")
	k.work.Go(func() {
		k.s.work.Wait() // for the connections, and for the end of earlier processes
		k.s.endWork(errDrained)
	})
	for {
		if err := readMessage(r, &req); err != nil {
			// Nobody tells any more which connections have to be cut.
			k.s.endWork(errDrained)
			return
		}
		err := k.do(req)
		if writeMessage(conn, answer{Status: k.s.fullStatus(), Problem: asProblem(err)}) != nil || req.Verb == verbStop {
			k.s.endWork(errDrained)
			return
		}
	}
}

// giveEstate sends the estate with its descriptors.
func (k *control) giveEstate(conn *net.UnixConn) error {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	e := estate{Build: k.s.build, Routes: k.s.held}
	files := []*os.File{k.lock}
	for _, at := range k.s.endpoints {
		if at.listener == nil || len(files) == maxRights {
			continue
		}
		f, err := at.listener.File()
		if err != nil {
			return fmt.Errorf("copying a listening socket: %w", err)
		}
		defer func() { _ = f.Close() }()
		files, e.Addresses = append(files, f), append(e.Addresses, at.address)
	}
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encoding the estate: %w", err)
	}
	fds := make([]int, len(files))
	for i, f := range files {
		// File.Fd would make the socket block, in this process too.
		raw, err := f.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { fds[i] = int(fd) })
		}
		if err != nil {
			return fmt.Errorf("passing a descriptor: %w", err)
		}
	}
	line = append(line, '\n')
	n, _, err := conn.WriteMsgUnix(line, unix.UnixRights(fds...), nil)
	if err == nil && n < len(line) {
		_, err = conn.Write(line[n:])
	}
	if err != nil {
		return fmt.Errorf("sending the estate: %w", err)
	}
	return nil
}

// retire stops accepting connections for good.
func (s *server) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired, s.file = true, nil
	for _, e := range s.endpoints {
		e.unlisten()
	}
}

// inheritance is what a process has got from an earlier one.
type inheritance struct {
	estate
	conn      *net.UnixConn
	lock      *os.File
	listeners map[string]*net.TCPListener
}

// inherit asks the running process for its lock and sockets.
func inherit(ctx context.Context, home string) (*inheritance, error) {
	conn, err := Client{Home: home}.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	in := &inheritance{conn: conn, listeners: map[string]*net.TCPListener{}}
	if err = writeMessage(conn, request{Verb: verbHandOver}); err == nil {
		err = in.receive()
	}
	if err != nil {
		in.close()
		return nil, fmt.Errorf("taking over from the earlier endpoint process: %w", err)
	}
	return in, nil
}

// receive reads the estate and its descriptors.
func (in *inheritance) receive() error {
	var line []byte
	var files []*os.File
	buf, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(4*maxRights))
	for !bytes.HasSuffix(line, []byte{'\n'}) {
		n, oobn, _, _, err := in.conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return fmt.Errorf("reading the estate: %w", err)
		}
		if n == 0 {
			return ErrNotRunning
		}
		line = append(line, buf[:n]...)
		more, err := rights(oob[:oobn])
		files = append(files, more...)
		if err != nil {
			return err
		}
	}
	if len(files) > 0 {
		in.lock = files[0]
		defer func() {
			for _, f := range files[1:] {
				_ = f.Close()
			}
		}()
	}
	if err := json.Unmarshal(line, &in.estate); err != nil {
		return fmt.Errorf("decoding the estate: %w", err)
	}
	if len(files) != 1+len(in.Addresses) {
		return fmt.Errorf("got %d descriptors for %d addresses", len(files), len(in.Addresses))
	}
	for i, address := range in.Addresses {
		l, err := net.FileListener(files[1+i])
		if err != nil {
			return fmt.Errorf("using the socket of %s: %w", address, err)
		}
		in.listeners[address] = l.(*net.TCPListener)
	}
	return nil
}

func rights(oob []byte) (out []*os.File, err error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("reading descriptors: %w", err)
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return out, fmt.Errorf("reading descriptors: %w", err)
		}
		for _, fd := range fds {
			out = append(out, os.NewFile(uintptr(fd), "inherited"))
		}
	}
	return out, nil
}

func (in *inheritance) close() {
	_ = in.conn.Close()
	if in.lock != nil {
		_ = in.lock.Close()
	}
	for _, l := range in.listeners {
		_ = l.Close()
	}
}
