package logcopy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bakingclouds/rollcall/internal/atomicfile"
	"github.com/bakingclouds/rollcall/internal/containerlog"
)

const (
	// writeDelay is the time in which entries are collected before they are written. Readers see them that much later.
	writeDelay = 20 * time.Millisecond
	// maxTimeSpread limits the times of entries that are written together, which get the time of the last one.
	maxTimeSpread = 100 * time.Millisecond
	// maxBatch limits the size of entries that are written together, in bytes.
	maxBatch = 256 << 10
	// streamSkew is by how much an entry of one stream may be older than an entry of another stream that the engine has
	// returned before it.
	streamSkew = time.Second
)

// The engine's streams are 0 for a terminal, 1 for standard output and 2 for standard error.
const lastStream = 2

// progress is the part of a log that was copied. It is stored in the log's folder.
type progress struct {
	Position int64 // in the container log
	// The engine assigns times for each stream on its own: they rise within a stream, but not from one stream to
	// another.
	Streams [lastStream + 1]streamProgress
}

// streamProgress is the part of one stream that was copied.
type streamProgress struct {
	Time time.Time // of the last entry, as the engine reports it
	Same int       // number of entries at the end with that time; the pieces of a long line share theirs

	resuming bool // entries that were copied before come again
	skip     int  // number of entries with Time that will come again
}

// lastTime returns the time of the newest entry.
func (p *progress) lastTime() (last time.Time) {
	for _, s := range p.Streams {
		if s.Time.After(last) {
			last = s.Time
		}
	}
	return last
}

// log is a container log that entries are copied to.
type log struct {
	progressFile string
	writer       *containerlog.Writer

	mu     sync.Mutex
	stored progress // as in progressFile
	next   progress // after batch is written
	batch  []byte   // text that is not written yet
	first  time.Time
	latest time.Time // times of the first and the last entry in batch
	timer  *time.Timer
	err    error // the first error of writing since resume
	cancel context.CancelCauseFunc
}

// openLog opens the log in a folder for more entries. It removes what was written after the stored progress.
func openLog(folder string) (*log, error) {
	w, err := containerlog.Open(folder, time.Now())
	if err != nil {
		return nil, err
	}
	l := &log{writer: w, progressFile: filepath.Join(folder, "copied")}
	if err := atomicfile.Read(l.progressFile, &l.stored); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(err, w.Close(false))
	}
	if err := w.Rewind(l.stored.Position); err != nil {
		return nil, errors.Join(err, w.Close(false))
	}
	return l, nil
}

// resume prepares for entries from the time that it returns, some of which may have been copied before. The time is
// zero if nothing was copied. The log calls cancel when it cannot write.
func (l *log) resume(cancel context.CancelCauseFunc) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next, l.cancel = l.stored, cancel
	for n := range l.next.Streams {
		s := &l.next.Streams[n]
		s.resuming, s.skip = !s.Time.IsZero(), s.Same
	}
	last := l.next.lastTime()
	switch now := time.Now(); {
	case last.IsZero():
		return last
	case last.After(now):
		return now // the clock was set back
	}
	return last.Add(-streamSkew)
}

// flush writes all entries and returns the first error of writing since resume.
func (l *log) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writeLocked()
	err := l.err
	l.err, l.batch = nil, l.batch[:0]
	return err
}

// append adds an entry of a stream, unless it was copied before.
func (l *log) append(stream byte, entry []byte) error {
	if stream > lastStream {
		return fmt.Errorf("docker: log entry of unknown stream %d", stream)
	}
	at, text, ok := cutTimestamp(entry)
	if !ok {
		return fmt.Errorf("docker: log entry begins with %.40q instead of a time", entry)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.next.Streams[stream]
	if s.isRepeated(at) {
		return l.err
	}
	switch {
	case len(l.batch) == 0:
		l.first = at
	case at.Sub(l.first).Abs() > maxTimeSpread:
		l.writeLocked()
		l.first = at
	}
	if !at.Equal(s.Time) {
		s.Time, s.Same = at, 0
	}
	s.Same++
	l.latest = at
	l.batch = append(l.batch, text...)
	switch {
	case len(l.batch) >= maxBatch:
		l.writeLocked()
	case l.timer == nil:
		l.timer = time.AfterFunc(writeDelay, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.writeLocked()
		})
	}
	return l.err
}

// isRepeated reports whether the next entry, which has the time at, was copied before. The engine repeats the entries
// with the last time when a copy begins, and sometimes many older ones when it rotates its files. An entry that is
// older than the last one is new only if the last time is in the future, so that the clock was set back.
func (s *streamProgress) isRepeated(at time.Time) bool {
	if at.Before(s.Time) {
		if s.Time.After(time.Now()) {
			s.resuming = false
			return false
		}
		if !s.resuming {
			s.resuming, s.skip = true, s.Same
		}
		return true
	}
	if s.resuming && at.Equal(s.Time) && s.skip > 0 {
		s.skip--
		return true
	}
	s.resuming = false
	return false
}

// writeLocked writes the batch. If that fails, it cancels the copy.
func (l *log) writeLocked() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if len(l.batch) == 0 || l.err != nil {
		return
	}
	if l.err = l.write(); l.err != nil {
		l.cancel(l.err)
	}
	l.batch = l.batch[:0]
}

// write appends the batch, stores the progress, and only then shows the entries to readers.
func (l *log) write() error {
	if err := l.writer.Append(l.batch); err != nil {
		return errors.Join(err, l.writer.Rewind(l.stored.Position)) // the entries are copied again
	}
	end, err := l.writer.End()
	if err != nil {
		return err
	}
	l.next.Position = end
	if err := atomicfile.Write(l.progressFile, l.next, false); err != nil {
		return errors.Join(err, l.writer.Rewind(l.stored.Position))
	}
	l.stored = l.next
	return l.writer.Record(l.latest)
}

// writeIfEmpty writes a message of Rollcall to the log if the log is empty.
func (l *log) writeIfEmpty(text string) error {
	if end, err := l.writer.End(); err != nil || end > 0 {
		return err
	}
	return errors.Join(l.writer.Append([]byte(text)), l.writer.Record(time.Now()))
}

// close closes the log. ended declares that no entry follows.
func (l *log) close(ended bool) error {
	err := l.writer.Close(ended)
	if ended {
		err = errors.Join(err, os.RemoveAll(l.progressFile))
	}
	return err
}
