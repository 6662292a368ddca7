package process

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

// logSettle is how long the watch waits after it has looked, so that a program that prints without end is looked at
// so often and no more. It is also how exact the times of lines are.
const logSettle = 20 * time.Millisecond

// logWatch looks at the log of every container that runs, whenever it has grown. Where the kernel does not tell of that
// (inotify(7) has a limit for each user), the logs are only looked at every [logInterval].
type logWatch struct {
	log    *slog.Logger
	events *os.File // nil: not to be had

	mu      sync.Mutex
	writers map[*container]*watched
	byWatch map[int32]*container
}

type watched struct {
	*containerlog.Writer
	watch int32 // 0: none
}

func newLogWatch(log *slog.Logger) *logWatch {
	w := &logWatch{log: log, writers: map[*container]*watched{}, byWatch: map[int32]*container{}}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		log.Warn("lines of logs get times that are some seconds late; sysctl fs.inotify.max_user_instances", "err", err)
		return w
	}
	w.events = os.NewFile(uintptr(fd), "inotify")
	go w.follow()
	return w
}

// open begins with a container's log, before it starts or when it is adopted.
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
	entry := &watched{Writer: writer}
	if w.events != nil {
		fd, err := w.watch(c)
		if err != nil {
			w.log.Warn("lines of a log get times that are some seconds late; sysctl fs.inotify.max_user_watches", "container", c.spec.Name, "err", err)
		} else {
			entry.watch = fd
			w.byWatch[fd] = c
		}
	}
	w.writers[c] = entry
	return nil
}

func (w *logWatch) watch(c *container) (wd int32, err error) {
	conn, err := w.events.SyscallConn() // Fd would make reads block a thread
	if err != nil {
		return 0, err
	}
	problem := conn.Control(func(fd uintptr) {
		var n int
		n, err = unix.InotifyAddWatch(int(fd), containerlog.File(c.logFolder), unix.IN_MODIFY)
		wd = int32(n)
	})
	return wd, errors.Join(err, problem)
}

// close ends with the log of a container that has ended.
func (w *logWatch) close(c *container) error {
	if err := w.open(c); err != nil { // one that never ran has a log, too: an empty one
		return err
	}
	w.mu.Lock()
	entry := w.writers[c]
	delete(w.writers, c)
	if entry.watch != 0 {
		delete(w.byWatch, entry.watch)
		if conn, err := w.events.SyscallConn(); err == nil {
			_ = conn.Control(func(fd uintptr) { unix.InotifyRmWatch(int(fd), uint32(entry.watch)) }) // of no use is no harm
		}
	}
	w.mu.Unlock()
	return entry.Close(true) // which waits for the disk, and nobody else shall
}

// lookAll looks at every log.
func (w *logWatch) lookAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.writers {
		w.lookLocked(c)
	}
}

func (w *logWatch) lookLocked(c *container) {
	entry := w.writers[c]
	if entry == nil {
		return // it has ended
	}
	if err := entry.Look(time.Now()); err != nil {
		w.log.Error("a log cannot be kept as it should be", "container", c.spec.Name, "folder", c.logFolder, "err", err)
	}
}

// follow looks at the logs that the kernel says have grown.
func (w *logWatch) follow() {
	buf := make([]byte, 64<<10)
	for {
		n, err := w.events.Read(buf)
		if err != nil {
			w.log.Error("lines of logs get times that are some seconds late from now on", "err", fmt.Errorf("inotify: %w", err))
			return
		}
		grown := map[int32]bool{}
		overflow := false
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd, mask := int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:])
			grown[wd] = true
			overflow = overflow || mask&unix.IN_Q_OVERFLOW != 0
			b = b[min(len(b), unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:]))):]
		}
		w.mu.Lock()
		for wd := range grown {
			if c := w.byWatch[wd]; c != nil {
				w.lookLocked(c)
			}
		}
		w.mu.Unlock()
		if overflow {
			w.lookAll()
		}
		time.Sleep(logSettle)
	}
}
