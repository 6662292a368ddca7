package process

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaper is the parent of all containers, and of what they leave behind: it waits for every child of this process, so
// nothing else here may (os/exec would find its children gone).
type reaper struct {
	mu    sync.Mutex // also held while forking, so that no end arrives before its channel is known
	known map[int]chan<- syscall.WaitStatus
}

// newReaper makes this process the one that orphans of its containers fall to (PR_SET_CHILD_SUBREAPER), and reaps until
// the process ends.
func newReaper() (*reaper, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become the reaper of orphaned processes: %w", err)
	}
	r := &reaper{known: map[int]chan<- syscall.WaitStatus{}}
	ended := make(chan os.Signal, 1) // one token is enough: each round reaps all there are
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		for range ended {
			r.reapAll()
		}
	}()
	return r, nil
}

func (r *reaper) reapAll() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid == 0 {
			return
		}
		r.mu.Lock()
		end := r.known[pid]
		delete(r.known, pid)
		r.mu.Unlock()
		if end != nil {
			end <- status
		}
	}
}

// start forks a child; it is a starter.
func (r *reaper) start(path string, argv []string, attr *syscall.ProcAttr) (int, <-chan syscall.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return 0, nil, err
	}
	end := make(chan syscall.WaitStatus, 1)
	r.known[pid] = end
	return pid, end, nil
}

// awaitStranger returns when a process that is not a child of this one has ended. Such a process's exit code is not to
// be had.
func awaitStranger(id identity) error {
	fd, err := unix.PidfdOpen(id.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("follow process %d: %w", id.PID, err)
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	defer file.Close()
	if !id.alive(id.Boot) {
		return nil // it ended before, and the pid may be another's
	}
	conn, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("follow process %d: %w", id.PID, err)
	}
	// A pidfd is readable once its process has ended (pidfd_open(2)); Go's poller waits for that without a thread.
	return conn.Read(func(fd uintptr) bool {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err == nil && ready > 0
	})
}
