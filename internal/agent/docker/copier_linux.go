package docker

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
	// logSettle is how long entries are collected before they are written: it is how late a reader sees them at most.
	logSettle = 20 * time.Millisecond
	// logBlur is by how much the time of a line that is read late may differ from the one that the engine has noted.
	logBlur = 100 * time.Millisecond
	// maxCopied is how much is written at once at most.
	maxCopied = 256 << 10
)

// progress is how far a log was copied.
type progress struct {
	Position int64                    // in the logbook
	Streams  [lastStream + 1]streamed // the engine stamps each by itself, so that times rise in each but not from one to another
}

// The engine's streams: a terminal's, standard output, standard error.
const lastStream = 2

// streamed is how far a stream was copied.
type streamed struct {
	Time time.Time // of the last entry, as the engine has it
	Same int       // entries at the end that have this time, which the pieces of a long line share

	resuming bool // what was taken in comes again
	skip     int  // entries of Time that are still to come again
}

// streamSkew is how far the time of one stream's entry may lie behind that of another's which the engine has taken in earlier.
const streamSkew = time.Second

// last is the time of the newest entry.
func (p *progress) last() (last time.Time) {
	for _, s := range p.Streams {
		if s.Time.After(last) {
			last = s.Time
		}
	}
	return last
}

// copier writes entries of the engine's into a log.
type copier struct {
	file   string
	writer *containerlog.Writer

	mu       sync.Mutex
	progress progress
	text     []byte    // not written yet
	first    time.Time // of text
	latest   time.Time // of text
	last     progress  // with text
	timer    *time.Timer
	failed   error
	fail     context.CancelCauseFunc
}

// openCopier goes on with a log, and takes back what was written and not noted.
func openCopier(folder string) (*copier, error) {
	w, err := containerlog.Open(folder, time.Now())
	if err != nil {
		return nil, err
	}
	c := &copier{writer: w, file: filepath.Join(folder, "copied")}
	if err := atomicfile.Read(c.file, &c.progress); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(err, w.Close(false))
	}
	if err := w.Rewind(c.progress.Position); err != nil {
		return nil, errors.Join(err, w.Close(false))
	}
	return c, nil
}

// begin begins a copy from the time that it returns on. fail ends the copy when nothing can be written.
func (c *copier) begin(fail context.CancelCauseFunc) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.fail = c.progress, fail
	for n := range c.last.Streams {
		s := &c.last.Streams[n]
		s.resuming, s.skip = !s.Time.IsZero(), s.Same
	}
	last := c.last.last()
	switch now := time.Now(); {
	case last.IsZero():
		return last
	case last.After(now):
		return now // the clock was set back
	}
	return last.Add(-streamSkew)
}

// end ends a copy: all that was taken in is written. The error is the first of writing.
func (c *copier) end() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noteLocked()
	failed := c.failed
	c.failed, c.text = nil, c.text[:0]
	return failed
}

// take takes in an entry of a stream: its time, a space, its text.
func (c *copier) take(stream byte, entry []byte) error {
	if stream > lastStream {
		return fmt.Errorf("docker: an entry of a log's stream %d", stream)
	}
	at, text, ok := cutStamp(entry)
	if !ok {
		return fmt.Errorf("docker: an entry of a log begins with %.40q and not with its time", entry)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.last.Streams[stream]
	if s.again(at) {
		return c.failed
	}
	switch {
	case len(c.text) == 0:
		c.first = at
	case at.Sub(c.first).Abs() > logBlur:
		c.noteLocked()
		c.first = at
	}
	if !at.Equal(s.Time) {
		s.Time, s.Same = at, 0
	}
	s.Same++
	c.latest = at
	c.text = append(c.text, text...)
	switch {
	case len(c.text) >= maxCopied:
		c.noteLocked()
	case c.timer == nil:
		c.timer = time.AfterFunc(logSettle, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.noteLocked()
		})
	}
	return c.failed
}

// again says that an entry of a time was taken in before. The engine gives what is of the last time when a copy begins, and
// sometimes much of what it has given when it rotates its files. Only when the last time is in the future, so that the clock was
// set back, is an earlier one new.
func (s *streamed) again(at time.Time) bool {
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

// noteLocked writes what was taken in, notes that it is written, and only then counts it.
func (c *copier) noteLocked() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if len(c.text) == 0 || c.failed != nil {
		return
	}
	if c.failed = c.note(); c.failed != nil {
		c.fail(c.failed)
	}
	c.text = c.text[:0]
}

func (c *copier) note() error {
	if err := c.writer.Append(c.text); err != nil {
		return errors.Join(err, c.writer.Rewind(c.progress.Position)) // what was written of it comes again
	}
	end, err := c.writer.End()
	if err != nil {
		return err
	}
	c.last.Position = end
	if err := atomicfile.Write(c.file, c.last, false); err != nil {
		return errors.Join(err, c.writer.Rewind(c.progress.Position))
	}
	c.progress = c.last
	return c.writer.Look(c.latest)
}

// say writes a line of our own at the beginning of a log that has nothing else.
func (c *copier) say(text string) error {
	if end, err := c.writer.End(); err != nil || end > 0 {
		return err
	}
	return errors.Join(c.writer.Append([]byte(text)), c.writer.Look(time.Now()))
}

// close lets go of a log; with ended, nothing more will come.
func (c *copier) close(ended bool) error {
	err := c.writer.Close(ended)
	if ended {
		err = errors.Join(err, os.RemoveAll(c.file))
	}
	return err
}
