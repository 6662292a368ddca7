package docker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/jsonfile"
	"github.com/bakingclouds/rollcall/internal/logbook"
)

// followers copy what containers print from the engine's logs into ours, each exactly once as long as the engine has it: how
// far a copy went is noted beside it, and what was not noted is taken back after a crash. A container that prints faster
// than it is copied is not held up; the engine keeps so much of it (defaultLogSize) and forgets the oldest.
type followers struct {
	engine *client.Client
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu    sync.Mutex
	byKey map[containerKey]*follower
}

// follower copies one container's log.
type follower struct {
	engineID, folder string
	tty              bool
	again            chan struct{} // holds a token when the container was started again
	final            chan struct{} // closed when it will not be
	done             chan struct{} // closed when all is copied
	once             sync.Once
}

func newFollowers(engine *client.Client, log *slog.Logger) *followers {
	f := &followers{engine: engine, log: log, byKey: map[containerKey]*follower{}}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// start follows a container's log into a folder, from where an earlier follower left it. One that is followed is looked at
// again: it may have been restarted.
func (f *followers) start(taskID, name, engineID, folder string, tty bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := containerKey{taskID, name}
	if l := f.byKey[key]; l != nil {
		select {
		case l.again <- struct{}{}:
		default:
		}
		return
	}
	if logbook.Ended(folder) || f.ctx.Err() != nil {
		return
	}
	l := &follower{engineID: engineID, folder: folder, tty: tty, again: make(chan struct{}, 1), final: make(chan struct{}), done: make(chan struct{})}
	f.byKey[key] = l
	f.all.Go(func() {
		defer close(l.done)
		if err := f.follow(l); err != nil && f.ctx.Err() == nil {
			f.log.Error("a container's log cannot be kept as it should be", "task", taskID, "container", name, "err", err)
		}
	})
}

// end says that a container will print no more.
func (f *followers) end(taskID, name string) {
	f.mu.Lock()
	l := f.byKey[containerKey{taskID, name}]
	f.mu.Unlock()
	if l != nil {
		l.once.Do(func() { close(l.final) })
	}
}

// wait ends a follower when it has copied all, or after a time.
func (f *followers) wait(taskID, name string, timeout time.Duration) {
	f.end(taskID, name)
	key := containerKey{taskID, name}
	f.mu.Lock()
	l := f.byKey[key]
	f.mu.Unlock()
	if l == nil {
		return
	}
	select {
	case <-l.done:
	case <-time.After(timeout):
	}
	f.mu.Lock()
	delete(f.byKey, key)
	f.mu.Unlock()
}

// close lets go of all logs; another follower goes on with them.
func (f *followers) close() {
	f.cancel()
	f.all.Wait()
}

// progress is how far a log was copied.
type progress struct {
	Position int64     // in the logbook
	Time     time.Time // of the last entry, as the engine has it
}

// follow copies until all is copied that will come.
func (f *followers) follow(l *follower) error {
	w, err := logbook.Open(l.folder, time.Now())
	if err != nil {
		return err
	}
	c := &copier{writer: w, file: filepath.Join(l.folder, "copied")}
	if err := jsonfile.Read(c.file, &c.progress); err != nil && !errors.Is(err, os.ErrNotExist) {
		return errors.Join(err, w.Close(false))
	}
	if err := w.Rewind(c.progress.Position); err != nil {
		return errors.Join(err, w.Close(false))
	}
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, reconnectMaxWait) {
		ended := false
		select {
		case <-l.final:
			ended = true // before the last copy begins, so that nothing comes after it
		default:
		}
		err := f.copy(l, c)
		switch {
		case f.ctx.Err() != nil:
			return w.Close(false)
		case ended && (err == nil || errdefs.IsNotFound(err)):
			return errors.Join(w.Close(true), os.RemoveAll(c.file))
		case err == nil:
			wait = 10 * time.Millisecond
			select { // the container has ended; for good?
			case <-l.final:
				continue
			case <-l.again:
				continue
			case <-f.ctx.Done():
				return w.Close(false)
			}
		case errdefs.IsNotImplemented(err) || errdefs.IsInvalidArgument(err): // a driver that the engine cannot read from
			f.log.Info("what a container prints goes where its log driver takes it, and is not shown here", "container", l.engineID, "err", err)
			<-l.final
			return w.Close(true)
		}
		select {
		case <-time.After(wait):
		case <-f.ctx.Done():
		}
	}
}

// copy copies what there is, and what comes until the container ends.
func (f *followers) copy(l *follower, c *copier) error {
	options := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: true}
	if !c.progress.Time.IsZero() {
		options.Since = c.progress.Time.Format(time.RFC3339Nano)
	}
	logs, err := f.engine.ContainerLogs(f.ctx, l.engineID, options)
	if err != nil {
		return err
	}
	defer logs.Close()
	read := frame
	if l.tty {
		read = line
	}
	r := bufio.NewReaderSize(logs, 64<<10)
	for {
		entry, err := read(r)
		if len(entry) > 0 {
			if err := c.take(entry); err != nil {
				return err
			}
		}
		if r.Buffered() == 0 || err != nil {
			if err := c.note(); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// maxFrame bounds one entry: the engine cuts lines at 16 KiB.
const maxFrame = 1 << 20

// frame reads an entry of a container without a terminal: a header of 8 bytes, of which the last 4 are the length (Docker
// Engine API, "Attach to a container").
func frame(r *bufio.Reader) ([]byte, error) {
	var header [8]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, errors.Join(err, eofOf(err))
	}
	size := binary.BigEndian.Uint32(header[4:])
	if size > maxFrame {
		return nil, fmt.Errorf("docker: an entry of a log with %d bytes", size)
	}
	entry := make([]byte, size)
	if _, err := io.ReadFull(r, entry); err != nil {
		return nil, errors.Join(err, eofOf(err))
	}
	return entry, nil
}

// eofOf is io.EOF for a stream that ends within an entry: the engine is being stopped, and what was cut comes again.
func eofOf(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return nil
}

// line reads an entry of a container with a terminal.
func line(r *bufio.Reader) ([]byte, error) { return r.ReadBytes('\n') }

// copier writes entries into a log.
type copier struct {
	writer   *logbook.Writer
	file     string
	progress progress
	text     []byte // not written yet
	last     time.Time
}

// maxCopied is how much is written at once at most.
const maxCopied = 256 << 10

// take takes in an entry: its time, a space, its text.
func (c *copier) take(entry []byte) error {
	stamp, text, ok := bytes.Cut(entry, []byte(" "))
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if !ok || err != nil {
		return fmt.Errorf("docker: an entry of a log begins with %.40q and not with its time", entry)
	}
	if !at.After(c.progress.Time) {
		return nil // copied before: the engine gives what is of the last time again
	}
	c.text, c.last = append(c.text, text...), at
	if len(c.text) < maxCopied {
		return nil
	}
	return c.note()
}

// note writes what was taken in, notes that it is written, and only then counts it.
func (c *copier) note() error {
	if len(c.text) == 0 {
		return nil
	}
	if err := c.writer.Append(c.text); err != nil {
		return err
	}
	c.text = c.text[:0]
	end, err := c.writer.End()
	if err != nil {
		return err
	}
	c.progress = progress{end, c.last}
	if err := jsonfile.Write(c.file, c.progress, false); err != nil {
		return err
	}
	return c.writer.Look(c.last)
}
