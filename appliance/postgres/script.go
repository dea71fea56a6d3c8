package postgres

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"
	"sync"
)

// scriptReader is a source followed by endSQL.
type scriptReader struct {
	src *source
	end string
	// ready are bytes to return next, tail the last bytes of the source so far.
	ready, tail []byte
	ended       bool
	buf         []byte

	mu    sync.Mutex
	count int
	open  bool // the last line has no line break yet
}

func newScriptReader(src *source, end string) *scriptReader {
	return &scriptReader{src: src, end: end, buf: make([]byte, 32<<10)}
}

// tailBytes are held back until the source ends.
const tailBytes = 64

// quitLine is \q at the very end of a script. Without it the script ends just
// the same, and endSQL runs.
const quitLine = `(^|\n)[ \t]*\\q(uit)?[ \t]*;?\s*$`

// Read returns the script, then endSQL.
func (r *scriptReader) Read(b []byte) (int, error) {
	for len(r.ready) == 0 {
		if r.ended {
			if err := r.src.failed(); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
		r.fill()
	}
	n := copy(b, r.ready)
	r.ready = r.ready[n:]
	return n, nil
}

func (r *scriptReader) fill() {
	n, err := r.src.Read(r.buf)
	all := append(r.tail, r.buf[:n]...)
	cut := max(0, len(all)-tailBytes)
	if err != nil {
		r.ended = true
		cut = len(all)
	}
	r.ready, r.tail = all[:cut:cut], bytes.Clone(all[cut:])
	whole := errors.Is(err, io.EOF)
	if whole {
		r.ready = withoutQuit(r.ready)
	}
	r.see(r.ready)
	if whole && r.lineOpen() {
		r.ready = append(r.ready, '\n')
	}
	if whole {
		r.ready = append(r.ready, r.end...)
	}
}

// withoutQuit removes \q from the end of a script.
func withoutQuit(b []byte) []byte {
	from := max(0, len(b)-tailBytes)
	at := regexp.MustCompile(quitLine).FindIndex(b[from:])
	if at == nil || from > 0 && b[from+at[0]] != '\n' {
		return b
	}
	return append(b[:from+at[0]:from+at[0]], '\n')
}

func (r *scriptReader) see(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count += bytes.Count(b, []byte{'\n'})
	if len(b) > 0 {
		r.open = b[len(b)-1] != '\n'
	}
}

func (r *scriptReader) lineOpen() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open {
		r.open = false
		r.count++
		return true
	}
	return false
}

// lines is the number of the script's lines, as psql counts.
func (r *scriptReader) lines() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

func (r *scriptReader) failed() error { return r.src.failed() }

// answerWriter finds the answer in what psql prints, and keeps nothing else.
type answerWriter struct {
	nonce string

	mu     sync.Mutex
	line   []byte
	answer []string
}

// maxAnswerBytes are more than an answer has.
const maxAnswerBytes = 1024

// Write looks at whole lines.
func (w *answerWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		part, rest, whole := bytes.Cut(b, []byte{'\n'})
		if room := maxAnswerBytes - len(w.line); room > 0 {
			w.line = append(w.line, part[:min(room, len(part))]...)
		}
		if whole {
			w.see()
		}
		b = rest
	}
	return n, nil
}

func (w *answerWriter) see() {
	if rest, ok := strings.CutPrefix(string(w.line), w.nonce+" "); ok {
		w.answer = strings.Fields(rest)
	}
	w.line = w.line[:0]
}

func (w *answerWriter) fields() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.answer
}
