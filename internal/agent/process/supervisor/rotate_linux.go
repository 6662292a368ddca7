package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/process/protocol"
)

// The bounds of the supervisor's own log.
const (
	maxLog      = 10 << 20 // bytes; the file can grow beyond it between two rotations
	keptLogs    = 2        // earlier files, .1 and .2, of at most maxLog each
	logInterval = 2 * time.Second
)

// rotate truncates a log that has grown beyond limit: its last limit bytes become path.1, and earlier files move on by
// one.
func rotate(path string, limit int64) error {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && info.Size() <= limit {
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
	if err := copyTail(path, path+".1", limit); err != nil {
		return fmt.Errorf("rotate a log: %w", err)
	}
	// Writers append (O_APPEND), so they continue at the new end.
	return os.Truncate(path, 0)
}

func copyTail(from, to string, size int64) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	if _, err := src.Seek(-size, io.SeekEnd); err != nil {
		return err
	}
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	_, err = io.CopyN(dst, src, size)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// rotateLogs keeps every log of the data folder within its bounds.
func (s *supervisor) rotateLogs() {
	if err := rotate(protocol.SupervisorLogFile(s.dir), maxLog); err != nil {
		s.log.Error("cannot keep the supervisor's log within its bounds", "err", err)
	}
	s.logs.readAll()
}
