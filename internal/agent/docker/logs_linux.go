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
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/containerlog"
)

// followers copy what containers print from the engine's logs into ours, each entry exactly once as long as the engine has
// it: how far a copy went is noted beside it, and what was not noted is taken back after a crash. A container that prints
// faster than it is copied is not held up; the engine keeps so much of it (defaultLogSize) and forgets the oldest.
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
	ctx              context.Context
	cancel           context.CancelFunc
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
	if containerlog.Ended(folder) || f.ctx.Err() != nil {
		return
	}
	l := &follower{engineID: engineID, folder: folder, tty: tty, again: make(chan struct{}, 1), final: make(chan struct{}), done: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(f.ctx)
	f.byKey[key] = l
	f.all.Go(func() {
		defer l.cancel()
		defer close(l.done)
		if err := f.follow(l); err != nil {
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
		l.cancel()
		<-l.done
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

// unreadable is the log of a container whose log driver gives nothing back.
const unreadable = "rollcall: what this container prints goes where its log driver takes it, and cannot be shown here\n"

// follow copies until all is copied that will come.
func (f *followers) follow(l *follower) error {
	c, err := openCopier(l.folder)
	if err != nil {
		return err
	}
	troubled := false
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
			return c.close(false)
		case l.ctx.Err() != nil: // who waited for it waits no more
			return errors.Join(errors.New("docker: the engine did not give the last of it in time"), c.close(true))
		case errdefs.IsNotImplemented(err):
			if err := c.say(unreadable); err != nil {
				return errors.Join(err, c.close(false))
			}
			select {
			case <-l.final:
				return c.close(true)
			case <-f.ctx.Done():
				return c.close(false)
			case <-l.ctx.Done():
				return c.close(true)
			}
		case ended && (err == nil || errdefs.IsNotFound(err)):
			return c.close(true)
		case err == nil:
			wait = 10 * time.Millisecond
			select { // the container has ended; for good?
			case <-l.final:
				continue
			case <-l.again:
				continue
			case <-l.ctx.Done():
				continue
			}
		case !troubled && !unreachable(err) && !errdefs.IsNotFound(err):
			troubled = true
			f.log.Warn("a container's log cannot be read; it is tried again", "container", l.engineID, "err", err)
		}
		select {
		case <-time.After(wait):
		case <-l.ctx.Done():
		}
	}
}

// copy copies what there is, and what comes until the container ends.
func (f *followers) copy(l *follower, c *copier) (err error) {
	ctx, cancel := context.WithCancelCause(l.ctx)
	defer cancel(nil)
	options := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: true}
	if since := c.begin(cancel); !since.IsZero() {
		options.Since = since.Format(time.RFC3339Nano)
	}
	defer func() {
		if noted := c.end(); noted != nil {
			err = noted
		}
	}()
	logs, err := f.engine.ContainerLogs(ctx, l.engineID, options)
	if err != nil {
		return err
	}
	defer logs.Close()
	r := bufio.NewReaderSize(logs, 64<<10)
	for {
		var stream byte
		var entry []byte
		var err error
		if l.tty {
			entry, err = line(r)
		} else {
			stream, entry, err = frame(r)
		}
		if len(entry) > 0 {
			if err := c.take(stream, entry); err != nil {
				return err
			}
		}
		if err == io.EOF { // within an entry it is io.ErrUnexpectedEOF: the engine is being stopped, and the entry comes again
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// maxFrame bounds one entry: the engine cuts lines at 16 KiB.
const maxFrame = 1 << 20

// frame reads an entry of a container without a terminal: a header of 8 bytes, of which the first is the stream
// and the last 4 are the length (Docker Engine API, "Attach to a container"). With an error there is no entry.
func frame(r *bufio.Reader) (stream byte, entry []byte, err error) {
	var header [8]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(header[4:])
	if size > maxFrame {
		return 0, nil, fmt.Errorf("docker: an entry of a log with %d bytes", size)
	}
	entry = make([]byte, size)
	if _, err := io.ReadFull(r, entry); err != nil {
		return 0, nil, err
	}
	return header[0], entry, nil
}

const (
	// stampLen is the length of an entry's time, which the engine writes with all nine digits of the fraction, and the space
	// behind it.
	stampLen = len("2006-01-02T15:04:05.000000000Z ")
	// pieceLen is where the engine cuts lines.
	pieceLen = 16 << 10
)

// line reads an entry of a container with a terminal. Nothing but their length divides the pieces of a line that the engine
// has cut, each of which begins with its time.
func line(r *bufio.Reader) ([]byte, error) {
	entry := make([]byte, stampLen, 256)
	if _, err := io.ReadFull(r, entry); err != nil {
		return nil, err
	}
	for len(entry) < maxFrame {
		if text := len(entry) - stampLen; text > 0 && text%pieceLen == 0 {
			if next, _ := r.Peek(stampLen); isStamp(next) {
				return entry, nil
			}
		}
		b, err := r.ReadByte()
		if err == io.EOF {
			return entry, err // what a program prints last may have no end
		}
		if err != nil {
			return nil, err
		}
		if entry = append(entry, b); b == '\n' {
			break
		}
	}
	return entry, nil
}

func isStamp(b []byte) bool {
	_, _, ok := cutStamp(b)
	return ok
}

// cutStamp divides an entry into its time and its text.
func cutStamp(entry []byte) (at time.Time, text []byte, ok bool) {
	stamp, text, ok := bytes.Cut(entry, []byte(" "))
	if !ok || len(stamp) > stampLen+len("+00:00") {
		return at, nil, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	return at, text, err == nil
}
