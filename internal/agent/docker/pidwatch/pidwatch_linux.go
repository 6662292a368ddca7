// Package pidwatch reports the end of processes that are not children of this one.
//
// The Docker runtime watches the main process of each container, so that it notices an end even while the engine does
// not answer. A [Watcher] holds a pidfd for each process (pidfd_open(2)) and waits for all of them with one epoll.
// Linux only.
package pidwatch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Watcher waits for the ends of processes. Create it with [New], and call [Watcher.Run] in a goroutine.
type Watcher struct {
	epoll int

	mu    sync.Mutex
	byFD  map[int32]*process
	byPID map[int]*process
}

type process struct {
	pid   int
	fd    int
	ended func()
}

// New returns a Watcher that watches no process.
func New() (*Watcher, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch processes: %w", err)
	}
	return &Watcher{epoll: fd, byFD: map[int32]*process{}, byPID: map[int]*process{}}, nil
}

// Watch calls ended once, in a new goroutine, after the process has ended. It does nothing if the process is already
// watched, or if the kernel cannot watch it.
func (w *Watcher) Watch(pid int, ended func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byPID[pid] != nil {
		return
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		if errors.Is(err, unix.ESRCH) {
			go ended()
		}
		return
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		_ = unix.Close(fd)
		return
	}
	p := &process{pid, fd, ended}
	w.byFD[int32(fd)], w.byPID[pid] = p, p
}

// waitInterval limits one wait for events, and so how long Run continues after its context has ended.
const waitInterval = 500 * time.Millisecond

// Run reports the ends of processes until ctx is done.
func (w *Watcher) Run(ctx context.Context) {
	events := make([]unix.EpollEvent, 64)
	for ctx.Err() == nil {
		n, err := unix.EpollWait(w.epoll, events, int(waitInterval.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		for _, e := range events[:max(n, 0)] {
			w.mu.Lock()
			p := w.byFD[e.Fd]
			if p != nil {
				delete(w.byFD, e.Fd)
				delete(w.byPID, p.pid)
				_ = unix.Close(p.fd)
			}
			w.mu.Unlock()
			if p != nil {
				go p.ended()
			}
		}
	}
}

// Close releases the file descriptors. Call it after Run has returned.
func (w *Watcher) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.byFD {
		_ = unix.Close(p.fd)
	}
	_ = unix.Close(w.epoll)
}

// InContainer reports whether a process belongs to a container, by the container's id in the name of the process's
// control group. It returns false if the engine runs in another pid namespace, where its pids mean other processes.
func InContainer(pid int, containerID string) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return pid > 0 && err == nil && containerID != "" && strings.Contains(string(text), containerID)
}
