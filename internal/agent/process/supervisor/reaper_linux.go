package supervisor

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bakingclouds/rollcall/internal/agent/process/procfs"
)

// reaper is the parent of all containers and of the processes that they leave behind. It waits for every child of this
// process, so nothing else may (os/exec would not find its children).
type reaper struct {
	mu   sync.Mutex // also held while forking, so that a child's channel exists before its end arrives
	ends map[int]chan<- syscall.WaitStatus
}

// newReaper makes this process the parent of the orphans of its containers (PR_SET_CHILD_SUBREAPER), and reaps until
// the process ends.
func newReaper() (*reaper, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become the parent of orphaned processes: %w", err)
	}
	r := &reaper{ends: map[int]chan<- syscall.WaitStatus{}}
	ended := make(chan os.Signal, 1) // one token is enough: each round reaps all children that have ended
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
		end := r.ends[pid]
		delete(r.ends, pid)
		r.mu.Unlock()
		if end != nil {
			end <- status
		}
	}
}

// start forks a child; it is a [launch.Starter].
func (r *reaper) start(path string, argv []string, attr *syscall.ProcAttr) (int, <-chan syscall.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return 0, nil, err
	}
	end := make(chan syscall.WaitStatus, 1)
	r.ends[pid] = end
	return pid, end, nil
}

// awaitAdopted returns when a process has ended that is not a child of this one. Its exit code is unknown.
func awaitAdopted(id procfs.Identity) error {
	fd, err := unix.PidfdOpen(id.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wait for process %d: %w", id.PID, err)
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	defer file.Close()
	if !id.Alive(id.Boot) {
		return nil // it ended before, and the pid may be that of another process
	}
	conn, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for process %d: %w", id.PID, err)
	}
	// A pidfd is readable once its process has ended (pidfd_open(2)); Go's poller waits for that without a thread.
	return conn.Read(func(fd uintptr) bool {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err == nil && ready > 0
	})
}
