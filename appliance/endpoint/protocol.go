package endpoint

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"pgapp/appliance"
)

// Names within the home.
const (
	// SocketName is the process's control socket.
	SocketName = "endpoint.sock"
	// LockName is locked as long as a process serves the home's endpoints.
	LockName = "endpoint.lock"
	// StateName holds the last state that was sent.
	StateName = "endpoint.state"
	// LogName is the process's log.
	LogName = "endpoint.log"
)

// maxMessage limits a message on the control socket.
const maxMessage = 1 << 20

// The verbs of a request.
const (
	verbApply  = "apply"
	verbStatus = "status"
	verbStop   = "stop"
	// verbHandOver and verbTaken are said by a newer process.
	verbHandOver = "hand-over"
	verbTaken    = "taken"
)

// request is one line of JSON on the control socket.
type request struct {
	Verb   string            `json:"verb"`
	Routes *appliance.Routes `json:"routes,omitempty"`
}

// answer is the line that answers a request.
type answer struct {
	Status  appliance.RouteStatus `json:"status"`
	Problem *appliance.Problem    `json:"problem,omitempty"`
}

func writeMessage(w io.Writer, message any) error {
	line, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encoding the message: %w", err)
	}
	if _, err := w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("writing the message: %w", err)
	}
	return nil
}

// readMessage reads a line of at most maxMessage bytes. It returns io.EOF if the other
// side has closed the connection.
func readMessage(r *bufio.Reader, message any) error {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxMessage {
			return errors.New("the message is too long")
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	if err := json.Unmarshal(line, message); err != nil {
		return fmt.Errorf("decoding the message: %w", err)
	}
	return nil
}
