package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgapp/appliance"
	"pgapp/store"
	"pgapp/store/storetest"
)

const childWriters = 3

// childWrites stores numbers until it is killed, and says each that was
// acknowledged: "writer number".
func childWrites(dir string) int {
	ctx := context.Background()
	s, err := store.Open(ctx, dir, store.Options{})
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	var wg sync.WaitGroup
	var out sync.Mutex
	for w := range childWriters {
		wg.Go(func() {
			name := fmt.Sprint("c", w)
			op := storetest.NewOperation("op-"+name, name)
			if _, err := s.Operation(ctx, op.ID); appliance.IsProblem(err, appliance.ErrNotFound) {
				err = s.Begin(ctx, appliance.Beginning{Operation: op, Create: storetest.NewCluster(name)})
				if err != nil {
					fmt.Println("error", err)
					return
				}
			}
			say := func(n uint64) {
				out.Lock()
				defer out.Unlock()
				fmt.Println(w, n)
			}
			// A new cluster begins at an epoch above 0, so that where the writer starts is
			// acknowledged too: the parent allows for one write more than it heard of.
			n := readNumber(ctx, s, w)
			say(n)
			for {
				n++
				if err := writeNumber(ctx, s, w, n); err != nil {
					fmt.Println("error", err)
					return
				}
				say(n)
			}
		})
	}
	wg.Wait()
	return 1
}

// writeNumber takes another way for each writer.
func writeNumber(ctx context.Context, s *store.Store, w int, n uint64) error {
	name := fmt.Sprint("c", w)
	switch w {
	case 0:
		op := storetest.NewOperation("op-"+name, name)
		op.Revision = n
		op.Build = strings.Repeat("x", int(n*997%9000)) //nolint:gosec // pages of changing number
		return s.SaveOperation(ctx, op, false)
	case 1:
		_, err := s.UpdateCluster(ctx, name, func(c *appliance.Cluster) error { c.Epoch = n; return nil })
		return err
	}
	return s.PutSetting(ctx, name, []byte(strconv.FormatUint(n, 10)))
}

func readNumber(ctx context.Context, s *store.Store, w int) uint64 {
	name := fmt.Sprint("c", w)
	switch w {
	case 0:
		op, _ := s.Operation(ctx, "op-"+name)
		return op.Revision
	case 1:
		c, _ := s.Cluster(ctx, name)
		return c.Epoch
	}
	b, _ := s.Setting(ctx, name)
	n, _ := strconv.ParseUint(string(b), 10, 64)
	return n
}

// TestKilledWriterLosesNoCommit kills a writing process again and again: what it acknowledged must
// be there, nothing older, and the file must be sound.
func TestKilledWriterLosesNoCommit(t *testing.T) {
	t.Parallel()
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	var acked [childWriters]uint64
	total := 0
	for round := range rounds {
		total += killRound(t, dir, time.Duration(5+round*13)*time.Millisecond, &acked)
		s, err := store.Open(t.Context(), dir, store.Options{})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for w, want := range acked {
			got := readNumber(t.Context(), s, w)
			if got < want || got > want+1 { // one more may be on disk without having been said
				t.Errorf("round %d: writer %d has %d, acknowledged was %d", round, w, got, want)
			}
			acked[w] = got
		}
		closeStore(t, s)
		report, err := store.Check(t.Context(), filepath.Join(dir, store.FileName))
		if err != nil || len(report.Findings) != 0 {
			t.Fatalf("round %d: check: %v %v", round, report.Findings, err)
		}
	}
	t.Logf("%d rounds, %d acknowledged writes, all there", rounds, total)
}

// killRound lets a child write for the time after its first word.
func killRound(t *testing.T, dir string, after time.Duration, acked *[childWriters]uint64) int {
	t.Helper()
	cmd := child(t.Context(), t, "write", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var timer *time.Timer
	n := 0
	for sc := bufio.NewScanner(out); sc.Scan(); n++ {
		if timer == nil {
			timer = time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
		var w int
		var number uint64
		if _, err := fmt.Sscan(sc.Text(), &w, &number); err != nil {
			t.Errorf("the child says %q", sc.Text())
			continue
		}
		acked[w] = number
	}
	_ = cmd.Wait() // killed
	return n
}

// TestKillWhileCreating kills a process while it makes the first database.
func TestKillWhileCreating(t *testing.T) {
	t.Parallel()
	for delay := range 12 {
		dir := t.TempDir()
		cmd := child(t.Context(), t, "open", dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, filepath.Join(dir, store.LockName))
		time.Sleep(time.Duration(delay) * 2 * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		s := open(t, dir)
		if _, err := s.Info(t.Context()); err != nil {
			t.Errorf("killed after %d ms: %v", 2*delay, err)
		}
	}
}

func waitFor(t *testing.T, path string) {
	t.Helper()
	for range 2000 {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%s doesn't appear", path)
}

// childOpens opens the state and stays until its standard input ends.
func childOpens(dir string) int {
	s, err := store.Open(context.Background(), dir, store.Options{})
	if err != nil {
		fmt.Println("refused:", err)
		return 3
	}
	fmt.Println("open")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	if err := s.Close(); err != nil {
		return 1
	}
	return 0
}

// TestSecondProcessIsRefused lets a second process try the home of a first.
func TestSecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := child(t.Context(), t, "open", dir)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	if word, _ := bufio.NewReader(out).ReadString('\n'); word != "open\n" {
		t.Fatalf("the child says %q", word)
	}
	begin := time.Now()
	_, err := store.Open(t.Context(), dir, store.Options{})
	wantProblem(t, err, appliance.ErrHomeLocked, fmt.Sprint("process ", cmd.Process.Pid), "pgapp shutdown")
	t.Logf("refused after %v", time.Since(begin))
	if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
		t.Error(err)
	}
	s := open(t, dir)
	second := child(t.Context(), t, "open", dir)
	said, err := second.Output()
	if err == nil || !strings.Contains(string(said), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("the second process: %s (%v), want it refused naming %d", said, err, os.Getpid())
	}
	closeStore(t, s)
}

func TestLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lock, err := store.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Lock(dir)
	wantProblem(t, err, appliance.ErrHomeLocked)
	_, err = store.Open(t.Context(), dir, store.Options{})
	wantProblem(t, err, appliance.ErrHomeLocked)
	if _, err := store.Open(t.Context(), t.TempDir(), store.Options{Lock: lock}); err == nil {
		t.Error("another home was opened under this home's lock")
	}
	for range 2 { // the lock outlives the store
		s, err := store.Open(t.Context(), dir, store.Options{Lock: lock})
		if err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
		closeStore(t, s)
		_, err = store.Lock(dir)
		wantProblem(t, err, appliance.ErrHomeLocked)
	}
	if err := errors.Join(lock.Release(), lock.Release()); err != nil {
		t.Error(err)
	}
	if _, err := store.Open(t.Context(), dir, store.Options{Lock: lock}); err == nil {
		t.Error("a released lock was accepted")
	}
	open(t, dir)
}

// TestCheckSeesThatTheHomeIsGone has what somebody's rm and mv leave at the home's path.
func TestCheckSeesThatTheHomeIsGone(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(dir string) error{
		"removed":      os.RemoveAll,
		"moved":        func(dir string) error { return os.Rename(dir, dir+"-moved") },
		"lock removed": func(dir string) error { return os.Remove(filepath.Join(dir, store.LockName)) },
		"lock exchanged": func(dir string) error {
			other := filepath.Join(dir, "other")
			return errors.Join(os.WriteFile(other, nil, 0o600), os.Rename(other, filepath.Join(dir, store.LockName)))
		},
		"a file now": func(dir string) error {
			return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "home")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			lock, err := store.Lock(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := lock.Check(); err != nil {
				t.Fatalf("a home in use: %v", err)
			}
			if err := lose(dir); err != nil {
				t.Fatal(err)
			}
			wantProblem(t, lock.Check(), appliance.ErrHomeUnusable, dir)
			if err := errors.Join(lock.Release(), lock.Check()); err != nil {
				t.Error(err)
			}
		})
	}
}

// childReplaces replaces the home's state by the two copies in turn until it
// is killed.
func childReplaces(dir string) int {
	ctx := context.Background()
	lock, err := store.Lock(dir)
	if err != nil {
		return 1
	}
	for n := 0; ; n++ {
		if _, err := store.Replace(ctx, dir, lock, filepath.Join(dir, fmt.Sprint("copy", n%2)), time.Now()); err != nil {
			fmt.Println("error", err)
			return 1
		}
		if n == 0 {
			fmt.Println("began")
		}
	}
}

// TestKillWhileReplacing kills a process that restores states of two
// instances again and again: the home always opens, with one of them whole.
func TestKillWhileReplacing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	instances := map[string]int{}
	for i := range 2 {
		home, db := filledHome(t)
		info, err := store.Peek(t.Context(), filepath.Join(home, store.FileName))
		if err = errors.Join(err, os.WriteFile(filepath.Join(dir, fmt.Sprint("copy", i)), db, 0o600)); err != nil {
			t.Fatal(err)
		}
		instances[info.Instance] = 0
	}
	for round := range 12 {
		cmd := child(t.Context(), t, "replace", dir)
		out, err := cmd.StdoutPipe()
		if err = errors.Join(err, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		word, _ := bufio.NewReader(out).ReadString('\n')
		time.Sleep(time.Duration(round) * 1700 * time.Microsecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if word != "began\n" {
			t.Fatalf("the child says %q", word)
		}
		s := open(t, dir)
		info, err := s.Info(t.Context())
		if _, known := instances[info.Instance]; !known || err != nil || len(info.Epochs) != 2 {
			t.Errorf("round %d: %+v (%v)", round, info, err)
		}
		instances[info.Instance]++
		closeStore(t, s)
	}
	t.Logf("each was found: %v", instances)
}
