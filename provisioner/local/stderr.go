package local

import "bytes"

// maxStderr is the number of bytes kept of a command's standard error.
const maxStderr = 64 << 10

// stderrWriter keeps the last maxStderr bytes written, and passes on each line.
type stderrWriter struct {
	onLine func(string)
	line   []byte
	kept   []byte
}

// Write never fails.
func (w *stderrWriter) Write(b []byte) (int, error) {
	w.kept = append(w.kept, b...)
	if len(w.kept) > 2*maxStderr {
		w.kept = append([]byte(nil), w.tail()...)
	}
	if w.onLine == nil {
		return len(b), nil
	}
	w.line = append(w.line, b...)
	for {
		i := bytes.IndexAny(w.line, "\r\n")
		if i < 0 {
			break
		}
		w.emit(w.line[:i])
		w.line = w.line[i+1:]
	}
	if len(w.line) > maxStderr { // an overlong line
		w.flush()
	}
	return len(b), nil
}

func (w *stderrWriter) emit(line []byte) {
	if w.onLine != nil && len(line) > 0 {
		w.onLine(string(line))
	}
}

// flush passes on the last line if it has no newline.
func (w *stderrWriter) flush() {
	w.emit(w.line)
	w.line = nil
}

func (w *stderrWriter) tail() []byte {
	return w.kept[max(0, len(w.kept)-maxStderr):]
}
