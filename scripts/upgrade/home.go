package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is how long a program or a change of state may take.
const patience = 3 * time.Minute

// errMissed says that an operation ended before the daemon was killed.
var errMissed = errors.New("the operation ended before the daemon was killed")

// home is a home of pgapp and both programs.
type home struct {
	dir, old, new string
	// told says how far the operation was as its daemon was killed.
	told string
}

type operation struct {
	ID      string     `json:"id"`
	Kind    string     `json:"kind"`
	State   string     `json:"state"`
	EndedAt *time.Time `json:"ended_at"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error"`
	Steps []struct {
		ID    string `json:"id"`
		State string `json:"state"`
	} `json:"steps"`
}

// done counts the steps that are.
func (o operation) done() int {
	n := 0
	for _, s := range o.Steps {
		if s.State == "done" {
			n++
		}
	}
	return n
}

// command is a program of pgapp on the home.
func (h *home) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "PGAPP_HOME="+h.dir, "PGAPP_LISTEN=127.0.0.1:0")
	cmd.WaitDelay = time.Second // the daemon may hold the output
	return cmd
}

// run runs a program of pgapp to its end.
func (h *home) run(ctx context.Context, program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := h.command(ctx, program, args...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("%s: %w: %s%s", strings.Join(args, " "), err, &complaint, &out)
	}
	return out.Bytes(), nil
}

// get asks the daemon that runs, and starts none.
func (h *home) get(ctx context.Context, path string, into any) error {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(h.dir, "pgapp.sock"))
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://pgapp/api/v1"+path, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // read only
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, res.Status)
	}
	return json.NewDecoder(res.Body).Decode(into)
}

// latest is the newest operation as it is now.
func (h *home) latest(ctx context.Context) (operation, error) {
	var list json.RawMessage
	if err := h.get(ctx, "/operations", &list); err != nil {
		return operation{}, err
	}
	var all []operation
	if json.Unmarshal(list, &all) != nil {
		var page struct {
			Operations []operation `json:"operations"`
		}
		if err := json.Unmarshal(list, &page); err != nil {
			return operation{}, err
		}
		all = page.Operations
	}
	if len(all) == 0 {
		return operation{}, nil
	}
	var o operation
	err := h.get(ctx, "/operations/"+all[0].ID, &o)
	return o, err
}

// daemon is the process of the daemon that runs.
func (h *home) daemon(ctx context.Context) (int, error) {
	var info struct {
		PID int `json:"pid"`
	}
	err := h.get(ctx, "/info", &info)
	return info.PID, err
}

// kill ends the daemon at once and waits until it is gone.
func (h *home) kill(ctx context.Context, pid int) error {
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("killing the daemon: %w", err)
	}
	return poll(ctx, func() (bool, error) {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			return true, nil
		}
		return err == nil && bytes.Contains(data, []byte(") Z ")), err
	})
}

// servers maps each member with a running server to its process.
func (h *home) servers() (map[string]int, error) {
	pids := map[string]int{}
	files, err := filepath.Glob(filepath.Join(h.dir, "clusters/main/*/data/postmaster.pid"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		line, _, _ := strings.Cut(string(data), "\n")
		pid, err := strconv.Atoi(line)
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", f, err)
		}
		pids[filepath.Base(filepath.Dir(filepath.Dir(f)))] = pid
	}
	return pids, nil
}

// poll asks again and again until ok is true.
func poll(ctx context.Context, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if yes, err := ok(); yes || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
