package supervisor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bakingclouds/rollcall/internal/containerlog"
)

// logSettle is the pause after each read, so that a program that prints without end causes only so many reads. It is
// also the precision of the lines' times.
const logSettle = 20 * time.Millisecond

// logWatch reads the log of every running container whenever it has grown. Where the kernel does not report that
// (inotify(7) has a limit for each user), the logs are only read every [logInterval].
type logWatch struct {
	log    *slog.Logger
	events *os.File // nil: no inotify

	mu          sync.Mutex
	writers     map[*container]*watchedLog
	byWatchDesc map[int32]*container
}

type watchedLog struct {
	*containerlog.Writer
	watchDesc int32 // 0: none
}

func newLogWatch(log *slog.Logger) *logWatch {
	w := &logWatch{log: log, writers: map[*container]*watchedLog{}, byWatchDesc: map[int32]*container{}}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		log.Warn("the times of log lines will be some seconds late; raise sysctl fs.inotify.max_user_instances", "err", err)
		return w
	}
	w.events = os.NewFile(uintptr(fd), "inotify")
	go w.follow()
	return w
}

// open opens a container's log, before it starts or when it is adopted.
func (w *logWatch) open(c *container) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writers[c] != nil {
		return nil
	}
	writer, err := containerlog.Open(c.logFolder, time.Now())
	if err != nil {
		return err
	}
	entry := &watchedLog{Writer: writer}
	if w.events != nil {
		wd, err := w.watch(c)
		if err != nil {
			w.log.Warn("the times of a log's lines will be some seconds late; raise sysctl fs.inotify.max_user_watches",
				"container", c.spec.Name, "err", err)
		} else {
			entry.watchDesc = wd
			w.byWatchDesc[wd] = c
		}
	}
	w.writers[c] = entry
	return nil
}

func (w *logWatch) watch(c *container) (watchDesc int32, err error) {
	conn, err := w.events.SyscallConn() // File.Fd would make reads block a thread
	if err != nil {
		return 0, err
	}
	controlErr := conn.Control(func(fd uintptr) {
		var n int
		n, err = unix.InotifyAddWatch(int(fd), containerlog.File(c.logFolder), unix.IN_MODIFY)
		watchDesc = int32(n)
	})
	return watchDesc, errors.Join(err, controlErr)
}

// close completes the log of a container that has ended.
func (w *logWatch) close(c *container) error {
	if err := w.open(c); err != nil { // a container that never ran has an empty log
		return err
	}
	w.mu.Lock()
	entry := w.writers[c]
	delete(w.writers, c)
	if entry.watchDesc != 0 {
		delete(w.byWatchDesc, entry.watchDesc)
		if conn, err := w.events.SyscallConn(); err == nil {
			// A failure leaves a watch whose events are ignored.
			_ = conn.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(entry.watchDesc)) })
		}
	}
	w.mu.Unlock()
	return entry.Close(true) // waits for the disk, so without the lock
}

// readAll reads every log.
func (w *logWatch) readAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.writers {
		w.readLocked(c)
	}
}

func (w *logWatch) readLocked(c *container) {
	entry := w.writers[c]
	if entry == nil {
		return // the container has ended
	}
	if err := entry.Record(time.Now()); err != nil {
		w.log.Error("cannot keep a log", "container", c.spec.Name, "folder", c.logFolder, "err", err)
	}
}

// follow reads the logs that have grown, as the kernel reports them.
func (w *logWatch) follow() {
	buf := make([]byte, 64<<10)
	for {
		n, err := w.events.Read(buf)
		if err != nil {
			w.log.Error("the times of log lines will be some seconds late from now on", "err", fmt.Errorf("inotify: %w", err))
			return
		}
		grown, overflow := parseEvents(buf[:n])
		w.mu.Lock()
		for wd := range grown {
			if c := w.byWatchDesc[wd]; c != nil {
				w.readLocked(c)
			}
		}
		w.mu.Unlock()
		if overflow {
			w.readAll()
		}
		time.Sleep(logSettle)
	}
}

// parseEvents returns the watch descriptors of inotify events, and whether the kernel dropped events.
func parseEvents(events []byte) (watchDescs map[int32]bool, overflow bool) {
	watchDescs = map[int32]bool{}
	for len(events) >= unix.SizeofInotifyEvent {
		watchDescs[int32(binary.NativeEndian.Uint32(events))] = true
		overflow = overflow || binary.NativeEndian.Uint32(events[4:])&unix.IN_Q_OVERFLOW != 0
		nameLength := int(binary.NativeEndian.Uint32(events[12:]))
		events = events[min(len(events), unix.SizeofInotifyEvent+nameLength):]
	}
	return watchDescs, overflow
}
