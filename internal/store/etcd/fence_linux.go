package etcd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fence takes the files under dir from whoever in this process still holds them, and returns how many there were.
// It is for an engine that could not be stopped: its goroutines are parked, its descriptors open, and its locks
// keep the next engine out.
//
// Each descriptor's lock is given up (a memory map keeps the open file alive, so closing would not do), and its
// number is made to stand for /dev/null, opened for reading, where every write fails. Then fence waits until no
// goroutine is inside a system call of etcd's log, snapshots or database, since one that began before could
// still write.
func fence(dir string) (int, error) {
	fds, err := openUnder(dir)
	if err != nil || len(fds) == 0 {
		return 0, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	var errs []error
	for _, fd := range fds {
		// bbolt locks by flock, the WAL by open file description locks (fcntl(2), F_OFD_SETLK).
		_ = unix.Flock(fd, unix.LOCK_UN)
		whole := unix.Flock_t{Type: unix.F_UNLCK}
		_ = unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &whole)
		if err := unix.Dup3(int(null.Fd()), fd, unix.O_CLOEXEC); err != nil {
			errs = append(errs, fmt.Errorf("replace descriptor %d: %w", fd, err))
		}
	}
	for writing() {
		time.Sleep(10 * time.Millisecond)
	}
	return len(fds), errors.Join(errs...)
}

// openUnder lists this process's descriptors of regular files under dir.
func openUnder(dir string) ([]int, error) {
	const self = "/proc/self/fd"
	names, err := os.ReadDir(self)
	if err != nil {
		return nil, err
	}
	var fds []int
	for _, n := range names {
		target, err := os.Readlink(filepath.Join(self, n.Name()))
		if err != nil || !strings.HasPrefix(target, dir+"/") {
			continue
		}
		fd, err := strconv.Atoi(n.Name())
		if err != nil {
			continue
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// writing tells whether a goroutine is inside a system call of etcd's files. Engines of other folders count too;
// that only means a short wait.
func writing() bool {
	for _, g := range strings.Split(stacks(), "\n\n") {
		state, frames, _ := strings.Cut(g, "\n")
		if !strings.Contains(state, "[syscall") {
			continue
		}
		for _, pkg := range []string{"go.etcd.io/bbolt.", "server/v3/storage/", "etcdserver/api/snap."} {
			if strings.Contains(frames, pkg) {
				return true
			}
		}
	}
	return false
}
