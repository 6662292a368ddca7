package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// maxOutput is how much of a health check's output is kept, as in Docker.
const maxOutput = 4096

// The bounds of the supervisor's own log.
const (
	maxLog      = 10 << 20 // bytes; between two looks it can go beyond it
	keptLogs    = 2        // older files, with .1 and .2, each at most maxLog long
	logInterval = 2 * time.Second
)

// rotate cuts a log that has grown beyond max: its last max bytes become path.1, the older files move on.
func rotate(path string, max int64) error {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && info.Size() <= max {
		return nil
	}
	if err != nil {
		return err
	}
	for n := keptLogs; n > 1; n-- {
		err := os.Rename(fmt.Sprint(path, ".", n-1), fmt.Sprint(path, ".", n))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("rotate a log: %w", err)
		}
	}
	if err := copyTail(path, path+".1", max); err != nil {
		return fmt.Errorf("rotate a log: %w", err)
	}
	// Writers append (O_APPEND), so they go on at the new end.
	return os.Truncate(path, 0)
}

func copyTail(from, to string, max int64) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	if _, err := src.Seek(-max, io.SeekEnd); err != nil {
		return err
	}
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	_, err = io.CopyN(dst, src, max)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// rotateLogs keeps every log of this data folder within its bounds.
func (s *supervisor) rotateLogs() {
	if err := rotate(supervisorLogFile(s.dir), maxLog); err != nil {
		s.log.Error("this log cannot be kept within its bounds", "err", err)
	}
	s.logs.lookAll()
}

// collector keeps the beginning of what a command prints, and reads on so that the command is never held up.
type collector struct {
	pipe *os.File
	kept strings.Builder
	done chan struct{}
}

func collect(pipe *os.File) *collector {
	c := &collector{pipe: pipe, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		_, err := io.CopyN(&c.kept, pipe, maxOutput)
		if err == nil {
			_, _ = io.Copy(io.Discard, pipe) // until it is closed, or finish has waited enough
		}
	}()
	return c
}

// finish gives what was kept. A process that holds the pipe and outlived its command is waited for no longer than this.
func (c *collector) finish() string {
	_ = c.pipe.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // a pipe takes deadlines
	<-c.done
	return strings.ToValidUTF8(strings.TrimSpace(c.kept.String()), "\uFFFD")
}
