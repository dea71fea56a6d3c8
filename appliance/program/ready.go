package program

import (
	"bufio"
	"encoding/json"
	"io"
	"os"

	"pgapp/appliance"
)

const (
	// readyFD is the descriptor on which a daemon tells the client that started it
	// that it is ready, or why not. It is the first of exec.Cmd's ExtraFiles.
	readyFD   = 3
	readyName = "PGAPP_READY_FD"
	// ReadyEnv in a daemon's environment says that a client waits for the report.
	ReadyEnv = readyName + "=3"
)

// Awaited tells whether a client started this daemon and waits for its report.
func Awaited() bool { return os.Getenv(readyName) == "3" }

// ReadReady reads the daemon's report: "ready", or a problem in JSON.
func ReadReady(r io.Reader, log string) error {
	line, err := bufio.NewReader(r).ReadBytes('\n')
	if string(line) == "ready\n" {
		return nil
	}
	var p appliance.Problem
	if json.Unmarshal(line, &p) == nil && p.ID != "" {
		return &p
	}
	return appliance.NewProblem(appliance.ErrDaemonUnreachable, "the daemon did not start: %w", err).WithHint("its log is %s", log)
}

// ReadyDescriptor is the descriptor for [TellReady], or -1 where no client waits.
func ReadyDescriptor() int {
	if Awaited() {
		return readyFD
	}
	return -1
}

// TellReady tells the client that started this daemon how the start went.
func TellReady(problem *appliance.Problem) {
	if !Awaited() {
		return
	}
	_ = os.Unsetenv(readyName) // the descriptor is used once; an unset variable can't fail
	f := os.NewFile(readyFD, "ready")
	defer func() { _ = f.Close() }()
	if problem == nil {
		_, _ = io.WriteString(f, "ready\n") // a client that has gone needs no word
		return
	}
	_ = json.NewEncoder(f).Encode(problem)
}
