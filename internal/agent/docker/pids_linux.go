package docker

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

// pidWatch tells when processes end that are not our children, by a pidfd each (pidfd_open(2)).
type pidWatch struct {
	epoll int

	mu    sync.Mutex
	byFD  map[int32]*watchedPID
	byPID map[int]*watchedPID
}

type watchedPID struct {
	pid   int
	fd    int
	ended func()
}

func newPIDWatch() (*pidWatch, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch processes: %w", err)
	}
	return &pidWatch{epoll: fd, byFD: map[int32]*watchedPID{}, byPID: map[int]*watchedPID{}}, nil
}

// watch calls ended once, in a goroutine of its own, when the process has ended. One that is watched already stays as it
// is; where the kernel cannot tell, nothing is called.
func (w *pidWatch) watch(pid int, ended func()) {
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
		unix.Close(fd)
		return
	}
	p := &watchedPID{pid, fd, ended}
	w.byFD[int32(fd)], w.byPID[pid] = p, p
}

// epollWait is how long one wait lasts: how late the end of ctx is seen.
const epollWait = 500 * time.Millisecond

// run tells of ends until ctx ends.
func (w *pidWatch) run(ctx context.Context) {
	events := make([]unix.EpollEvent, 64)
	for ctx.Err() == nil {
		n, err := unix.EpollWait(w.epoll, events, int(epollWait.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		for _, e := range events[:max(n, 0)] {
			w.mu.Lock()
			p := w.byFD[e.Fd]
			if p != nil {
				delete(w.byFD, e.Fd)
				delete(w.byPID, p.pid)
				unix.Close(p.fd)
			}
			w.mu.Unlock()
			if p != nil {
				go p.ended()
			}
		}
	}
}

// close ends the watch; run has ended.
func (w *pidWatch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.byFD {
		unix.Close(p.fd)
	}
	unix.Close(w.epoll)
}

// ofContainer reports whether a process is a container's: its control group is called after it. It is not where the engine
// counts processes in another pid namespace than ours.
func ofContainer(pid int, engineID string) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return pid > 0 && err == nil && engineID != "" && strings.Contains(string(text), engineID)
}
